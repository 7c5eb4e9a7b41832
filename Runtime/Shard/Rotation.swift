// How positions enter attention. Whatever a model calls its rotary scaling, it comes to one frequency for each pair and
// one factor: `locum-import` works them out, and a router knows nothing else.

/// The rotary embedding of a model.
public struct Rotation: Sendable, Equatable {
    /// Radians per position of the pair (i, i + headDim/2); above 0 and at most 1. Shape: (headDim/2,).
    public var frequencies: [Float]
    /// What cosines and sines are multiplied by.
    public var scale: Float

    public init(frequencies: [Float], scale: Float = 1) { (self.frequencies, self.scale) = (frequencies, scale) }

    /// - Throws: `ShardError(.badConfig)` when no router could rotate by it.
    func validate(headDim: Int) throws(ShardError) {
        guard frequencies.count == headDim / 2 else {
            throw ShardError(
                .badConfig, "\(frequencies.count) rotary frequencies for heads of \(headDim) numbers")
        }
        if let wrong = frequencies.first(where: { !($0 > 0 && $0 <= 1) }) {
            throw ShardError(.badConfig, "a rotary frequency is \(wrong), not above 0 and at most 1")
        }
        guard scale.isFinite, scale > 0 else { throw ShardError(.badConfig, "the rotary scale is \(scale)") }
    }

    func encode(into w: inout ByteWriter) {
        for frequency in frequencies { w.f32(frequency) }
        w.f32(scale)
    }

    init(from r: inout ByteReader, headDim: Int) throws(ShardError) {
        frequencies = []
        for _ in 0..<headDim / 2 { frequencies.append(try r.f32()) }
        scale = try r.f32()
    }
}

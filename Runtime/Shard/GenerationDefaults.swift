// Sampling defaults that a model's authors ship in generation_config.json. What they leave out stays nil,
// so that whoever serves the model can fill in the defaults of its own interface.

/// A model's own sampling defaults.
public struct GenerationDefaults: Sendable, Equatable {
    /// False: the model is meant to be decoded greedily unless asked otherwise.
    public var doSample: Bool?
    public var temperature: Float?
    public var topP: Float?
    /// 0: no limit.
    public var topK: Int?
    public var minP: Float?
    /// 1: none.
    public var repetitionPenalty: Float?

    public init(
        doSample: Bool? = nil, temperature: Float? = nil, topP: Float? = nil, topK: Int? = nil, minP: Float? = nil,
        repetitionPenalty: Float? = nil
    ) {
        (self.doSample, self.temperature, self.topP) = (doSample, temperature, topP)
        (self.topK, self.minP, self.repetitionPenalty) = (topK, minP, repetitionPenalty)
    }

    /// - Throws: `ShardError(.badConfig)` naming the value that no sampler can use.
    public func validate() throws(ShardError) {
        func check(_ value: Float?, _ range: ClosedRange<Float>, _ name: String) throws(ShardError) {
            guard let value else { return }
            guard range.contains(value) else {
                throw ShardError(
                    .badConfig, "\(name) is \(value), not within \(range.lowerBound) to \(range.upperBound)")
            }
        }
        try check(temperature, 0...100, "temperature")
        try check(topP, 0...1, "top_p")
        try check(minP, 0...1, "min_p")
        try check(repetitionPenalty, 0.01...100, "repetition_penalty")
        if let topK, !(0...(1 << 20)).contains(topK) {
            throw ShardError(.badConfig, "top_k is \(topK), not within 0 to \(1 << 20)")
        }
    }

    func encode(into w: inout ByteWriter) {
        w.optional(doSample) { $0.u8($1 ? 1 : 0) }
        for value in [temperature, topP, minP, repetitionPenalty] { w.optional(value) { $0.f32($1) } }
        w.optional(topK) { $0.u32(UInt32($1)) }
    }

    init(from r: inout ByteReader) throws(ShardError) {
        doSample = try r.optional { r throws(ShardError) in try r.flag() }
        temperature = try r.optional { r throws(ShardError) in try r.f32() }
        topP = try r.optional { r throws(ShardError) in try r.f32() }
        minP = try r.optional { r throws(ShardError) in try r.f32() }
        repetitionPenalty = try r.optional { r throws(ShardError) in try r.f32() }
        topK = try r.optional { r throws(ShardError) in Int(try r.u32()) }
    }
}

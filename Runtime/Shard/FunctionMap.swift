// Which expert function holds which expert. Functions are numbered from 0 in layer-major order, the router
// not counted; the map is written out in full, so nothing but the import knows how experts were grouped.

/// Where each expert lives.
public struct FunctionMap: Sendable, Equatable {
    /// A function, and an expert's index within it.
    public struct Place: Sendable, Equatable {
        public var function: Int
        public var local: Int

        public init(function: Int, local: Int) { (self.function, self.local) = (function, local) }
    }

    /// Expert functions of the model.
    public var count: Int
    /// By MoE layer (those without experts not counted), then by expert.
    public var places: [Place]

    /// Experts in a model, over all layers.
    public static let mostExperts = 1 << 20

    public init(count: Int, places: [Place]) { (self.count, self.places) = (count, places) }

    /// - Throws: `ShardError(.badConfig)` unless every expert has a place of its own.
    func validate(moeLayers: Int, experts: Int) throws(ShardError) {
        guard places.count == moeLayers * experts, (1...places.count).contains(count) else {
            throw ShardError(
                .badConfig, "\(count) functions with \(places.count) experts for \(moeLayers) layers of \(experts)")
        }
        var seen: Set<Int> = []
        for place in places {
            guard (0..<count).contains(place.function), (0..<places.count).contains(place.local),
                seen.insert(place.function * places.count + place.local).inserted
            else {
                throw ShardError(
                    .badConfig, "expert \(place.local) of function \(place.function) cannot be or is taken")
            }
        }
    }

    func encode(into w: inout ByteWriter) {
        w.u32(UInt32(count))
        w.u32(UInt32(places.count))
        for place in places {
            w.u32(UInt32(place.function))
            w.u32(UInt32(place.local))
        }
    }

    init(from r: inout ByteReader) throws(ShardError) {
        count = try r.int("the number of functions", in: 1...Self.mostExperts)
        let total = try r.int("the number of experts in all", in: 1...Self.mostExperts)
        guard total * 8 <= r.left else { throw ShardError(.badConfig, "the map of \(total) experts is cut off") }
        places = []
        places.reserveCapacity(total)
        for _ in 0..<total { places.append(Place(function: Int(try r.u32()), local: Int(try r.u32()))) }
    }
}

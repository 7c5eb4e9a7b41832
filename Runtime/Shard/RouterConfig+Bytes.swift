// The byte form of a router's configuration: a version, then the fields in the order of the struct.
import Kernels

extension RouterConfig {
    private static let version: UInt32 = 2

    /// The content of the blob `config`.
    public var encoded: [UInt8] {
        var w = ByteWriter()
        w.u32(Self.version)
        w.text(architecture)
        for value in [vocabulary, hidden, layers, heads, kvHeads, headDim] { w.u32(UInt32(value)) }
        rotation.encode(into: &w)
        w.f32(rmsEpsilon)
        w.u32(queryKeyNorm.rawValue)
        for value in [expertCount, expertsPerToken] { w.u32(UInt32(value)) }
        w.u8(normalizesTopK ? 1 : 0)
        for value in [sharedExpertIntermediate, moeIntermediate, denseIntermediate] { w.u32(UInt32(value)) }
        w.raw(isMoE.map { $0 ? 1 : 0 })
        w.u32(UInt32(context))
        w.u32(kvType.rawValue)
        w.u32(UInt32(eosTokens.count))
        for token in eosTokens { w.u32(UInt32(bitPattern: token)) }
        w.optional(bosToken) { $0.u32(UInt32(bitPattern: $1)) }
        w.text(bosText)
        w.text(eosText)
        generation.encode(into: &w)
        functions.encode(into: &w)
        return w.bytes
    }

    /// Reads and validates the blob `config`.
    /// - Throws: `ShardError(.badConfig)`.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(ShardError) {
        var r = unsafe ByteReader(bytes)
        let version = try r.u32()
        guard version == Self.version else {
            throw ShardError(
                .unsupportedVersion,
                "router configuration version \(version), this Locum reads \(Self.version); "
                    + "deploy the model again")
        }
        architecture = try r.text(longest: 64)
        vocabulary = try r.int("the vocabulary's size", in: Limits.vocabulary)
        hidden = try r.int("the hidden size", in: Limits.hidden)
        layers = try r.int("the number of layers", in: Limits.layers)
        heads = try r.int("the number of attention heads", in: Limits.heads)
        kvHeads = try r.int("the number of key/value heads", in: Limits.heads)
        headDim = try r.int("the head dimension", in: Limits.headDim)
        rotation = try Rotation(from: &r, headDim: headDim)
        rmsEpsilon = try r.f32()
        guard let queryKeyNorm = QueryKeyNorm(rawValue: try r.u32()) else {
            throw ShardError(.badConfig, "unknown norm of queries and keys")
        }
        self.queryKeyNorm = queryKeyNorm
        expertCount = try r.int("the number of experts", in: Limits.experts)
        expertsPerToken = try r.int("the number of experts per token", in: Limits.experts)
        normalizesTopK = try r.flag()
        sharedExpertIntermediate = try r.int("the shared expert's width", in: 0...Limits.intermediate.upperBound)
        moeIntermediate = try r.int("the experts' width", in: Limits.intermediate)
        denseIntermediate = try r.int("the dense width", in: 0...Limits.intermediate.upperBound)
        var isMoE: [Bool] = []
        for _ in 0..<layers { isMoE.append(try r.flag()) }
        self.isMoE = isMoE
        context = try r.int("the context", in: Limits.context)
        guard let kvType = KVFormat(rawValue: try r.u32()) else {
            throw ShardError(.badConfig, "unknown storage of keys and values")
        }
        self.kvType = kvType
        var eosTokens: [Int32] = []
        for _ in 0..<(try r.int("the number of end tokens", in: 0...Limits.endTokens)) {
            eosTokens.append(Int32(bitPattern: try r.u32()))
        }
        self.eosTokens = eosTokens
        bosToken = try r.optional { r throws(ShardError) in Int32(bitPattern: try r.u32()) }
        bosText = try r.text(longest: Limits.text)
        eosText = try r.text(longest: Limits.text)
        generation = try GenerationDefaults(from: &r)
        functions = try FunctionMap(from: &r)
        guard r.left == 0 else { throw ShardError(.badConfig, "\(r.left) bytes too many") }
        try validate()
    }
}

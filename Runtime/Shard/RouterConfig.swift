// What a router must know of its model, in the blob `config` of its shard. `locum-import` read it out of
// config.json or GGUF metadata, so the router itself parses neither. Everything is bounded here again,
// since sizes that a worker computes with must not come unchecked out of a file.

public import Kernels

/// A model's shape, its numbers, its end tokens, its sampling defaults and where its experts live.
public struct RouterConfig: Sendable, Equatable {
    /// The architecture's name, for example `qwen2moe`; what is computed stands in the other fields.
    public var architecture: String
    /// Rows of the token embedding and of the output matrix.
    public var vocabulary: Int
    public var hidden: Int
    public var layers: Int
    public var heads: Int
    public var kvHeads: Int
    public var headDim: Int
    public var rotation: Rotation
    public var rmsEpsilon: Float
    public var queryKeyNorm: QueryKeyNorm
    /// Experts of each MoE layer.
    public var expertCount: Int
    public var expertsPerToken: Int
    /// Whether the chosen experts' weights are divided by their sum.
    public var normalizesTopK: Bool
    /// Width of the shared expert, 0 when there is none.
    public var sharedExpertIntermediate: Int
    public var moeIntermediate: Int
    /// Width of the feed-forward part of layers without experts, 0 when there are none.
    public var denseIntermediate: Int
    /// Per layer, whether it has experts.
    public var isMoE: [Bool]
    /// Longest sequence in tokens.
    public var context: Int
    /// How keys and values are stored.
    public var kvType: KVFormat
    /// Tokens that end a generation.
    public var eosTokens: [Int32]
    public var bosToken: Int32?
    /// What chat templates see as `bos_token` and `eos_token`; empty when the model names none.
    public var bosText: String
    public var eosText: String
    public var generation: GenerationDefaults
    public var functions: FunctionMap

    /// Whether queries and keys are normalised (RMS, with weights) before they are rotated.
    public enum QueryKeyNorm: UInt32, Sendable {
        case none = 0
        /// Each head by itself: weights (headDim,).
        case perHead = 1
        /// All heads of a row together: weights (heads * headDim,) and (kvHeads * headDim,).
        case acrossHeads = 2
    }

    public init(
        architecture: String, vocabulary: Int, hidden: Int, layers: Int, heads: Int, kvHeads: Int, headDim: Int,
        rotation: Rotation, rmsEpsilon: Float, queryKeyNorm: QueryKeyNorm, expertCount: Int, expertsPerToken: Int,
        normalizesTopK: Bool, sharedExpertIntermediate: Int, moeIntermediate: Int, denseIntermediate: Int,
        isMoE: [Bool], context: Int, kvType: KVFormat, eosTokens: [Int32], bosToken: Int32?, bosText: String,
        eosText: String, generation: GenerationDefaults, functions: FunctionMap
    ) {
        self.architecture = architecture
        (self.vocabulary, self.hidden, self.layers) = (vocabulary, hidden, layers)
        (self.heads, self.kvHeads, self.headDim) = (heads, kvHeads, headDim)
        (self.rotation, self.rmsEpsilon, self.queryKeyNorm) = (rotation, rmsEpsilon, queryKeyNorm)
        (self.expertCount, self.expertsPerToken, self.normalizesTopK) = (expertCount, expertsPerToken, normalizesTopK)
        self.sharedExpertIntermediate = sharedExpertIntermediate
        (self.moeIntermediate, self.denseIntermediate) = (moeIntermediate, denseIntermediate)
        (self.isMoE, self.context, self.kvType) = (isMoE, context, kvType)
        (self.eosTokens, self.bosToken) = (eosTokens, bosToken)
        (self.bosText, self.eosText, self.generation, self.functions) = (bosText, eosText, generation, functions)
    }

    /// Caps within which every model lies; import and router refuse what is beyond.
    public enum Limits {
        public static let vocabulary = 1...(1 << 20)
        public static let hidden = 1...65_536
        public static let intermediate = 1...ShardLayout.mostCols
        public static let layers = 1...1024
        public static let heads = 1...1024
        public static let headDim = 2...1024
        public static let experts = 1...4096
        /// Sines and cosines of larger angles are none.
        public static let context = 1...(1 << 20)
        public static let endTokens = 64
        public static let text = 65_536
    }

    /// - Throws: `ShardError(.badConfig)` naming the first number that cannot be.
    public func validate() throws(ShardError) {
        func within(_ value: Int, _ range: ClosedRange<Int>, _ what: String) throws(ShardError) {
            guard range.contains(value) else {
                throw ShardError(
                    .badConfig, "\(what) is \(value), not within \(range.lowerBound) to \(range.upperBound)")
            }
        }
        try within(vocabulary, Limits.vocabulary, "the vocabulary's size")
        try within(hidden, Limits.hidden, "the hidden size")
        try within(layers, Limits.layers, "the number of layers")
        try within(heads, Limits.heads, "the number of attention heads")
        try within(kvHeads, 1...heads, "the number of key/value heads")
        try within(headDim, Limits.headDim, "the head dimension")
        try within(expertCount, Limits.experts, "the number of experts")
        try within(expertsPerToken, 1...expertCount, "the number of experts per token")
        try within(moeIntermediate, Limits.intermediate, "the experts' width")
        try within(sharedExpertIntermediate, 0...Limits.intermediate.upperBound, "the shared expert's width")
        try within(
            denseIntermediate, (isMoE.contains(false) ? 1 : 0)...Limits.intermediate.upperBound,
            "the width of layers without experts")
        try within(context, Limits.context, "the context")
        func require(_ condition: Bool, _ why: String) throws(ShardError) {
            guard condition else { throw ShardError(.badConfig, why) }
        }
        try require(heads % kvHeads == 0, "\(heads) attention heads cannot share \(kvHeads) key/value heads evenly")
        try require(
            kvType != .q8_0 || headDim % 32 == 0,
            "a head of \(headDim) is no multiple of 32, which a KV cache in q8_0 needs: choose f16")
        try require(headDim % 2 == 0, "the head dimension \(headDim) is odd, rotary pairs need an even one")
        try require(isMoE.count == layers, "\(isMoE.count) layers are described of \(layers)")
        try require(isMoE.contains(true), "no layer has experts")
        try rotation.validate(headDim: headDim)
        try require(rmsEpsilon.isFinite && rmsEpsilon > 0, "the norms' epsilon is \(rmsEpsilon)")
        try require(eosTokens.count <= Limits.endTokens, "\(eosTokens.count) end tokens, at most \(Limits.endTokens)")
        for token in eosTokens + (bosToken.map { [$0] } ?? []) {
            try require(
                token >= 0 && Int(token) < vocabulary, "token \(token) is not in the vocabulary of \(vocabulary)")
        }
        try generation.validate()
        try functions.validate(moeLayers: isMoE.count { $0 }, experts: expertCount)
    }

    /// The function that holds an expert and the expert's index within it; nil for a layer without experts
    /// and beyond the last.
    public func place(layer: Int, expert: Int) -> FunctionMap.Place? {
        guard isMoE.indices.contains(layer), isMoE[layer], (0..<expertCount).contains(expert) else { return nil }
        let ordinal = isMoE[..<layer].count { $0 }
        return functions.places[ordinal * expertCount + expert]
    }
}

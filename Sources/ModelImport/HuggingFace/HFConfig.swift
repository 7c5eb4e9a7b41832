// config.json of a Hugging Face model. Everything that would change what is computed is either read or
// refused; keys that only concern training are skipped.
import Kernels
import Shard

struct HFConfig {
    private var file: String
    var modelType = ""
    private var numbers: [String: Int] = [:]
    private var denseLayers: [Int] = []
    private var normalizesTopK = false
    private var rmsEpsilon: Double?
    private var ropeTheta: Double?
    private var scaling = RotaryScaling()
    private var slidingWindow: Int?
    private(set) var tiesEmbeddings = false
    /// nil: as the architecture has it.
    private(set) var hasAttentionBias: Bool?
    private(set) var eosTokens: [Int] = []

    private static let longest = 4 << 20
    private static let counts: Set<String> = [
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "decoder_sparse_step", "moe_intermediate_size",
        "shared_expert_intermediate_size", "num_experts", "num_local_experts", "num_experts_per_tok",
    ]

    init(_ source: SourceFile) throws(ImportError) {
        file = source.name
        var json = JSONReader(file: file, bytes: try source.contents(most: Self.longest))
        var config = self
        try json.document { json throws(ImportError) in
            try json.object { json, key throws(ImportError) in try config.read(key, &json) }
        }
        self = config
    }

    private mutating func read(_ key: String, _ json: inout JSONReader) throws(ImportError) {
        switch key {
        case _ where Self.counts.contains(key):
            if let value = try json.optionalInt() { numbers[key] = value }
        case "model_type": modelType = try json.string()
        case "mlp_only_layers": denseLayers = try json.ints(most: Int(RouterConfig.Limits.layers.upperBound))
        case "norm_topk_prob": normalizesTopK = try json.optionalBool() ?? false
        case "rms_norm_eps": rmsEpsilon = try json.optionalDouble()
        case "rope_theta": ropeTheta = try json.optionalDouble() ?? ropeTheta
        case "rope_parameters", "rope_scaling": try readRope(key, &json)
        case "tie_word_embeddings": tiesEmbeddings = try json.optionalBool() ?? false
        case "qkv_bias": hasAttentionBias = try json.optionalBool()
        case "attention_bias":
            if try json.optionalBool() ?? false { throw unsupported(json, "a bias after attention", "none") }
        case "clip_qkv":
            guard try json.null() else { throw unsupported(json, "clipping of queries, keys and values", "none") }
        case "partial_rotary_factor": try readRotatedPart(&json)
        case "sliding_window": slidingWindow = try json.optionalInt()
        case "eos_token_id": eosTokens = try json.ints(most: RouterConfig.Limits.endTokens)
        case "hidden_act":
            let name = try json.string()
            guard name == "silu" else { throw unsupported(json, "the activation \(name)", "silu") }
        case "use_sliding_window":
            if try json.optionalBool() ?? false {
                throw unsupported(json, "sliding-window attention", "full attention")
            }
        case "layer_types":
            guard try !json.null() else { return }
            try json.array { json throws(ImportError) in
                let name = try json.string()
                guard name == "full_attention" else { throw unsupported(json, name, "full_attention") }
            }
        case "quantization_config":
            guard try json.null() else {
                throw ImportError(
                    .unsupportedFormat,
                    "\(json.place): the weights are quantised in a way of their own; use the "
                        + "unquantised model, or a GGUF file")
            }
        default: try json.skip()
        }
    }

    /// The older `rope_scaling` and the newer `rope_parameters`.
    private mutating func readRope(_ key: String, _ json: inout JSONReader) throws(ImportError) {
        guard try !json.null() else { return }
        var (theta, rope, names): (Double?, RotaryScaling, [String: String]) = (nil, RotaryScaling(), [:])
        try json.object { json, key throws(ImportError) in
            switch key {
            case "rope_theta": theta = try json.optionalDouble()
            case "rope_type", "type": names[key] = try json.optionalString()
            case "factor": rope.factor = try json.optionalDouble()
            case "original_max_position_embeddings": rope.originalContext = try json.optionalDouble()
            case "attention_factor": rope.attentionFactor = try json.optionalDouble()
            case "mscale": rope.magnitude = try json.optionalDouble()
            case "mscale_all_dim": rope.magnitudeOfAll = try json.optionalDouble()
            // Zero counts as left out in transformers.
            case "beta_fast": rope.fastRotations = try json.optionalDouble().flatMap { $0 == 0 ? nil : $0 } ?? 32
            case "beta_slow": rope.slowRotations = try json.optionalDouble().flatMap { $0 == 0 ? nil : $0 } ?? 1
            case "truncate": rope.truncates = try json.optionalBool() ?? true
            case "partial_rotary_factor": try readRotatedPart(&json)
            default:
                // Parameters for each kind of layer.
                guard try json.kind() != .object else { throw unsupported(json, key, "one set of parameters") }
                try json.skip()
            }
        }
        let name = names["rope_type"] ?? names["type"] ?? RotaryScaling.Method.none.rawValue
        guard let method = RotaryScaling.Method(rawValue: name) else {
            throw unsupported(json, "the rotary scaling \(name)", "linear or yarn")
        }
        guard method == .none || rope.factor != nil || method == .yarn && rope.originalContext != nil else {
            throw ImportError(.badConfig, "\(json.place): the rotary scaling \(name) has no factor; correct the file")
        }
        rope.method = method
        scaling = rope
        if let theta { ropeTheta = theta }
    }

    private func readRotatedPart(_ json: inout JSONReader) throws(ImportError) {
        guard try json.optionalDouble() ?? 1 == 1 else { throw unsupported(json, "partial rotation", "whole") }
    }

    private func unsupported(_ json: JSONReader, _ what: String, _ supported: String) -> ImportError {
        ImportError(
            .unsupportedArchitecture,
            "\(json.place): \(what.prefix(80)) is not supported, only \(supported); use another model")
    }

    private func count(_ key: String, default fallback: Int? = nil, in range: ClosedRange<Int>) throws(ImportError)
        -> Int
    {
        guard let value = numbers[key] ?? fallback else {
            throw ImportError(.badConfig, "\(file): \(key) is missing; download the file again")
        }
        guard range.contains(value) else {
            throw ImportError(
                .badConfig,
                "\(file): \(key) is \(value), not within \(range.lowerBound) to \(range.upperBound); "
                    + "the file is damaged or of another kind of model")
        }
        return value
    }

    /// The numbers of the model; `context` is the longest that it was made for.
    func routerConfig(_ architecture: Architecture) throws(ImportError) -> RouterConfig {
        typealias Limits = RouterConfig.Limits
        let hidden = try count("hidden_size", in: Limits.hidden)
        let layers = try count("num_hidden_layers", in: Limits.layers)
        let heads = try count("num_attention_heads", in: Limits.heads)
        let headDim = try count("head_dim", default: hidden / heads, in: Limits.headDim)
        guard numbers["head_dim"] != nil || hidden % heads == 0 else {
            throw ImportError(
                .badConfig,
                "\(file): hidden_size \(hidden) is no multiple of num_attention_heads \(heads); "
                    + "the file is damaged")
        }
        let step = try count("decoder_sparse_step", default: 1, in: Limits.layers)
        let experts = try count(architecture.expertCountKey, in: Limits.experts)
        if let wrong = denseLayers.first(where: { !(0..<layers).contains($0) }) {
            throw ImportError(
                .badConfig, "\(file): mlp_only_layers names layer \(wrong) of \(layers); the file is damaged")
        }
        let isMoE = (0..<layers).map { !denseLayers.contains($0) && ($0 + 1) % step == 0 }
        let context = try count("max_position_embeddings", in: Limits.context)
        if architecture.hasSlidingWindow, let slidingWindow, slidingWindow < context {
            throw ImportError(
                .unsupportedArchitecture,
                "\(file): sliding_window is \(slidingWindow) and max_position_embeddings \(context): attention to a "
                    + "window is not supported; lower max_position_embeddings to \(slidingWindow), or use another model"
            )
        }
        return RouterConfig(
            architecture: architecture.name,
            vocabulary: try count("vocab_size", in: Limits.vocabulary),
            hidden: hidden, layers: layers, heads: heads,
            kvHeads: try count("num_key_value_heads", default: heads, in: Limits.heads),
            headDim: headDim,
            rotation: scaling.rotation(
                theta: ropeTheta ?? architecture.ropeTheta, headDim: headDim, context: context),
            rmsEpsilon: Float(rmsEpsilon ?? architecture.epsilon), queryKeyNorm: architecture.queryKeyNorm,
            expertCount: experts, expertsPerToken: try count("num_experts_per_tok", in: Limits.experts),
            normalizesTopK: architecture.normalizesTopK ?? normalizesTopK,
            sharedExpertIntermediate: try count(
                "shared_expert_intermediate_size", default: 0, in: 0...Limits.intermediate.upperBound),
            moeIntermediate: try count(architecture.expertWidthKey, in: Limits.intermediate),
            denseIntermediate: isMoE.contains(false) ? try count("intermediate_size", in: Limits.intermediate) : 0,
            isMoE: isMoE,
            context: scaling.context(context),
            kvType: .f16, eosTokens: [], bosToken: nil, bosText: "", eosText: "", generation: GenerationDefaults(),
            functions: FunctionMap(count: 0, places: []))
    }
}

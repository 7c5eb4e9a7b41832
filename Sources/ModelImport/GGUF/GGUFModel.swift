// One GGUF file as a model: numbers out of metadata, the rest (which layers have experts, whether there are
// biases) out of which tensors there are, because converters write no more than that.
import Shard
import Tokenizer

enum GGUFModel {
    static func load(_ file: SourceFile) throws(ImportError) -> LoadedModel {
        let gguf = try GGUFFile(file)
        let name = try gguf.required("general.architecture", gguf.string("general.architecture"))
        guard let architecture = Architecture.all.first(where: { $0.name == name }) else {
            throw Architecture.unsupported(file.name, name)
        }
        if let parts = try gguf.int("split.count"), parts > 1 {
            throw ImportError(
                .unsupportedFormat, "\(file.name): one of \(parts) parts; join them with llama-gguf-split --merge")
        }
        try gguf.tensors.refuseOverlaps(.badGGUF)
        let tokenizer = try GGUFTokenizer(gguf)
        var config = try routerConfig(gguf, architecture)
        config.bosToken = tokenizer.definition.bosToken.flatMap { Int32(exactly: $0) }
        (config.bosText, config.eosText) = (tokenizer.bosText, tokenizer.eosText)
        config.eosTokens = tokenizer.endTokens
        return LoadedModel(
            naming: .gguf, architecture: architecture, configFile: file.name, config: config,
            hasAttentionBias: (0..<config.layers).contains { layer in
                gguf.tensors[Architecture.fill(architecture.ggufNames[.qBias] ?? "", layer: layer, expert: 0)] != nil
            },
            tiesOutput: gguf.tensors[architecture.ggufNames[.output] ?? ""] == nil,
            tokenizerFile: file.name, tokenizer: tokenizer.definition,
            template: try gguf.string("tokenizer.chat_template").map {
                LoadedModel.ChatTemplate(place: "\(file.name), tokenizer.chat_template", source: $0)
            },
            tensors: gguf.tensors)
    }

    private static func routerConfig(
        _ gguf: GGUFFile, _ architecture: Architecture
    ) throws(ImportError) -> RouterConfig {
        typealias Limits = RouterConfig.Limits
        let prefix = architecture.name + "."
        func count(_ key: String, default fallback: Int? = nil, in range: ClosedRange<Int>) throws(ImportError) -> Int {
            let value = try gguf.required(prefix + key, try gguf.int(prefix + key) ?? fallback)
            guard range.contains(value) else {
                throw ImportError(
                    .badConfig,
                    "\(gguf.file.name): \(prefix)\(key) is \(value), not within \(range.lowerBound) to "
                        + "\(range.upperBound); the file is damaged")
            }
            return value
        }
        /// A dimension of a tensor, for what older converters do not write down.
        func dimension(_ role: ShardRole, _ index: Int) -> Int? {
            for layer in 0..<1024 {
                let name = Architecture.fill(architecture.ggufNames[role] ?? "", layer: layer, expert: 0)
                if let shape = gguf.tensors[name]?.shape, shape.indices.contains(index) { return shape[index] }
            }
            return nil
        }
        try refuseVariants(gguf, prefix)
        let hidden = try count("embedding_length", in: Limits.hidden)
        let layers = try count("block_count", in: Limits.layers)
        let heads = try count("attention.head_count", in: Limits.heads)
        let headDim = try count("attention.key_length", default: hidden / heads, in: Limits.headDim)
        let values = try count("attention.value_length", default: headDim, in: Limits.headDim)
        let rotated = try count("rope.dimension_count", default: headDim, in: Limits.headDim)
        guard values == headDim, rotated == headDim else {
            throw ImportError(
                .unsupportedArchitecture,
                "\(gguf.file.name): keys have \(headDim) numbers, values \(values), "
                    + "\(rotated) are rotated; only equal ones are supported")
        }
        let isMoE = (0..<layers).map { layer in
            gguf.tensors[Architecture.fill(architecture.ggufNames[.gate] ?? "", layer: layer, expert: 0)] != nil
        }
        let embedding = gguf.tensors[architecture.ggufNames[.tokenEmbedding] ?? ""]
        return RouterConfig(
            architecture: architecture.name,
            vocabulary: try count("vocab_size", default: embedding?.shape.first, in: Limits.vocabulary),
            hidden: hidden, layers: layers, heads: heads,
            kvHeads: try count("attention.head_count_kv", default: heads, in: Limits.heads),
            headDim: headDim,
            ropeTheta: try gguf.double(prefix + "rope.freq_base") ?? 10_000,
            rmsEpsilon: Float(
                try gguf.required(
                    prefix + "attention.layer_norm_rms_epsilon",
                    gguf.double(prefix + "attention.layer_norm_rms_epsilon"))),
            expertCount: try count("expert_count", in: Limits.experts),
            expertsPerToken: try count("expert_used_count", in: Limits.experts),
            normalizesTopK: try gguf.bool(prefix + "expert_weights_norm") ?? false,
            sharedExpertIntermediate: try count(
                "expert_shared_feed_forward_length", default: dimension(.sharedGate, 0) ?? 0,
                in: 0...Limits.intermediate.upperBound),
            moeIntermediate: try count(
                "expert_feed_forward_length", default: dimension(.expertGate, 1), in: Limits.intermediate),
            denseIntermediate: isMoE.contains(false) ? try count("feed_forward_length", in: Limits.intermediate) : 0,
            isMoE: isMoE,
            context: try count("context_length", in: Limits.context),
            kvType: .f16, eosTokens: [], bosToken: nil, bosText: "", eosText: "", generation: GenerationDefaults(),
            functions: FunctionMap(count: 0, places: []))
    }

    /// Metadata that asks for arithmetic which the router does not do.
    private static func refuseVariants(_ gguf: GGUFFile, _ prefix: String) throws(ImportError) {
        func refuse(_ key: String) -> ImportError {
            ImportError(
                .unsupportedArchitecture,
                "\(gguf.file.name): \(prefix)\(key) has a value that is not supported; use another model")
        }
        if let scaling = try gguf.string(prefix + "rope.scaling.type"), scaling != "none" {
            throw refuse("rope.scaling.type")
        }
        // 1 is a softmax over all experts.
        if let gating = try gguf.int(prefix + "expert_gating_func"), gating > 1 { throw refuse("expert_gating_func") }
        if let scale = try gguf.double(prefix + "expert_weights_scale"), scale != 0, scale != 1 {
            throw refuse("expert_weights_scale")
        }
    }
}

// A GGUF file, or the parts of one, as a model: numbers out of metadata, the rest (which layers have experts, whether there are
// biases) out of which tensors there are, because converters write no more than that.
import Kernels
import Shard
import Tokenizer

enum GGUFModel {
    /// - Parameter template: instead of the file's own.
    static func load(
        _ files: [SourceFile], template: LoadedModel.ChatTemplate?
    ) throws(ImportError) -> LoadedModel {
        let gguf = try GGUFFile.whole(files)
        let file = gguf.file
        let name = try gguf.required("general.architecture", gguf.string("general.architecture"))
        guard let architecture = Architecture.all.first(where: { $0.ggufType == name }) else {
            throw Architecture.unsupported(file.name, name)
        }
        guard RouterConfig.Limits.layers.contains(where: { tensor(gguf, .gate, layer: $0 - 1) != nil }) else {
            throw ImportError(
                .unsupportedArchitecture,
                "\(file.name): a \(name) model without experts; Locum runs Mixture-of-Experts models, use one of these")
        }
        try gguf.tensors.refuseOverlaps(.badGGUF)
        let tokenizer = try GGUFTokenizer(gguf)
        let own = try gguf.string("tokenizer.chat_template").map {
            LoadedModel.ChatTemplate(place: "\(file.name), tokenizer.chat_template", source: $0)
        }
        var config = try routerConfig(gguf, architecture)
        config.bosToken = tokenizer.definition.bosToken.flatMap { Int32(exactly: $0) }
        (config.bosText, config.eosText) = (tokenizer.bosText, tokenizer.eosText)
        config.eosTokens = tokenizer.endTokens
        return LoadedModel(
            naming: .gguf, architecture: architecture, configFile: file.name, config: config,
            hasAttentionBias: (0..<config.layers).contains { layer in
                tensor(gguf, .qBias, layer: layer) != nil
            },
            tiesOutput: tensor(gguf, .output) == nil,
            tokenizerFile: file.name, tokenizer: tokenizer.definition,
            template: template ?? own,
            tensors: gguf.tensors)
    }

    /// The tensor of a role, of the first expert where it has one for each.
    private static func tensor(_ gguf: GGUFFile, _ role: ShardRole, layer: Int = 0) -> SourceTensor? {
        for name in TensorNames.gguf[role] {
            if let tensor = gguf.tensors[name.filled(layer: layer, expert: 0)] { return tensor }
        }
        return nil
    }

    private static func routerConfig(
        _ gguf: GGUFFile, _ architecture: Architecture
    ) throws(ImportError) -> RouterConfig {
        typealias Limits = RouterConfig.Limits
        let prefix = architecture.ggufType + "."
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
        /// Rows of a role's matrix, for what converters do not write down.
        func rows(_ role: ShardRole) -> Int? {
            for layer in Limits.layers {
                if let shape = tensor(gguf, role, layer: layer - 1)?.shape { return shape.dropLast().last }
            }
            return nil
        }
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
        let isMoE = (0..<layers).map { layer in tensor(gguf, .gate, layer: layer) != nil }
        let context = try count("context_length", in: Limits.context)
        try refuseVariants(gguf, prefix, context: context)
        let scaling = try RotaryScaling(gguf, prefix)
        return RouterConfig(
            architecture: architecture.name,
            vocabulary: try count("vocab_size", default: rows(.tokenEmbedding), in: Limits.vocabulary),
            hidden: hidden, layers: layers, heads: heads,
            kvHeads: try count("attention.head_count_kv", default: heads, in: Limits.heads),
            headDim: headDim,
            rotation: scaling.rotation(
                theta: try gguf.double(prefix + "rope.freq_base") ?? 10_000, headDim: headDim, context: context),
            rmsEpsilon: Float(
                try gguf.required(
                    prefix + "attention.layer_norm_rms_epsilon",
                    gguf.double(prefix + "attention.layer_norm_rms_epsilon"))),
            queryKeyNorm: architecture.queryKeyNorm,
            expertCount: try count("expert_count", in: Limits.experts),
            expertsPerToken: try count("expert_used_count", in: Limits.experts),
            normalizesTopK: try gguf.bool(prefix + "expert_weights_norm") ?? architecture.ggufNormalizesTopK,
            sharedExpertIntermediate: try count(
                "expert_shared_feed_forward_length", default: rows(.sharedGate) ?? 0,
                in: 0...Limits.intermediate.upperBound),
            moeIntermediate: try count(
                "expert_feed_forward_length", default: rows(.expertGate), in: Limits.intermediate),
            denseIntermediate: isMoE.contains(false) ? try count("feed_forward_length", in: Limits.intermediate) : 0,
            isMoE: isMoE,
            context: scaling.context(context),
            kvType: .f16, eosTokens: [], bosToken: nil, bosText: "", eosText: "", generation: GenerationDefaults(),
            functions: FunctionMap(count: 0, places: []))
    }

    /// Metadata that asks for arithmetic which the router does not do.
    private static func refuseVariants(_ gguf: GGUFFile, _ prefix: String, context: Int) throws(ImportError) {
        func refuse(_ key: String) -> ImportError {
            ImportError(
                .unsupportedArchitecture,
                "\(gguf.file.name): \(prefix)\(key) has a value that is not supported; use another model")
        }
        if let window = try gguf.int(prefix + "attention.sliding_window"), window != 0, window < context {
            throw refuse("attention.sliding_window")
        }
        if let limit = try gguf.double(prefix + "attention.clamp_kqv"), limit != 0 {
            throw refuse("attention.clamp_kqv")
        }
        // 1 is a softmax over all experts.
        if let gating = try gguf.int(prefix + "expert_gating_func"), gating > 1 { throw refuse("expert_gating_func") }
        if let scale = try gguf.double(prefix + "expert_weights_scale"), scale != 0, scale != 1 {
            throw refuse("expert_weights_scale")
        }
    }
}

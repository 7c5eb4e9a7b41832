// The router shard's tensors, looked up once. Shapes were checked by `ShardView.routerConfig`.
import Kernels
import Shard

/// Pointers into a mapped router shard.
struct RouterWeights {
    let kv: KVFormat
    /// (vocabulary, hidden) in plain rows.
    let embedding: PlainRows
    let outputNorm: UnsafePointer<Float>
    /// (vocabulary, hidden)
    let output: PackedMatrix
    let layers: [LayerWeights]

    init(_ shard: ShardView, _ config: RouterConfig) throws(ShardError) {
        kv = config.kvType
        embedding = try shard.rows(.tokenEmbedding)
        outputNorm = try Self.vector(shard, .outputNorm, 0)
        output = try shard.matrix(.output)
        var layers: [LayerWeights] = []
        for layer in 0..<config.layers { layers.append(try LayerWeights(shard, config, layer)) }
        self.layers = layers
    }

    /// The layer with experts of this ordinal, with the norm before it; nil behind the last.
    func block(_ ordinal: Int) -> (norm: UnsafePointer<Float>, block: ExpertBlock)? {
        for layer in layers {
            if case .experts(let block) = layer.feedForward, block.ordinal == ordinal {
                return (layer.feedForwardNorm, block)
            }
        }
        return nil
    }

    static func vector(_ shard: ShardView, _ role: ShardRole, _ layer: Int) throws(ShardError) -> UnsafePointer<Float> {
        guard let base = try shard.vector(role, layer: layer).baseAddress else {
            throw ShardError(.missingTensor, "the \(role) of layer \(layer) is empty")
        }
        return base
    }
}

/// One layer. Dimensions: d hidden, h heads, g kv heads, s head dimension.
struct LayerWeights {
    let attentionNorm: UnsafePointer<Float>
    /// (h*s, d), (g*s, d), (g*s, d), (d, h*s)
    let q, k, v, o: PackedMatrix
    /// All three or none.
    let biases: (q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>)?
    /// Weights of the norms of queries and keys: (s,) each, or (h*s,) and (g*s,).
    let queryKeyNorms: (q: UnsafePointer<Float>, k: UnsafePointer<Float>)?
    let feedForwardNorm: UnsafePointer<Float>
    let feedForward: FeedForward

    enum FeedForward {
        case dense(FeedForwardWeights)
        case experts(ExpertBlock)
    }

    init(_ shard: ShardView, _ config: RouterConfig, _ layer: Int) throws(ShardError) {
        attentionNorm = try RouterWeights.vector(shard, .attentionNorm, layer)
        q = try shard.matrix(.q, layer: layer)
        k = try shard.matrix(.k, layer: layer)
        v = try shard.matrix(.v, layer: layer)
        o = try shard.matrix(.o, layer: layer)
        if shard.entry(.qBias, layer: layer) != nil {
            biases = (
                try RouterWeights.vector(shard, .qBias, layer), try RouterWeights.vector(shard, .kBias, layer),
                try RouterWeights.vector(shard, .vBias, layer)
            )
        } else {
            biases = nil
        }
        if config.queryKeyNorm == .none {
            queryKeyNorms = nil
        } else {
            queryKeyNorms = (
                try RouterWeights.vector(shard, .qNorm, layer), try RouterWeights.vector(shard, .kNorm, layer)
            )
        }
        feedForwardNorm = try RouterWeights.vector(shard, .ffnNorm, layer)
        guard config.isMoE[layer] else {
            feedForward = .dense(
                FeedForwardWeights(
                    gate: try shard.matrix(.denseGate, layer: layer), up: try shard.matrix(.denseUp, layer: layer),
                    down: try shard.matrix(.denseDown, layer: layer)))
            return
        }
        var shared: ExpertBlock.Shared?
        if config.sharedExpertIntermediate > 0 {
            shared = ExpertBlock.Shared(
                gate: try RouterWeights.vector(shard, .sharedExpertGate, layer),
                network: FeedForwardWeights(
                    gate: try shard.matrix(.sharedGate, layer: layer), up: try shard.matrix(.sharedUp, layer: layer),
                    down: try shard.matrix(.sharedDown, layer: layer)))
        }
        feedForward = .experts(
            ExpertBlock(
                ordinal: config.isMoE[..<layer].count { $0 }, gate: try shard.matrix(.gate, layer: layer),
                shared: shared))
    }

    /// The gated network that runs here, if the layer has one: the dense one or the shared expert.
    var network: FeedForwardWeights? {
        switch feedForward {
        case .dense(let network): network
        case .experts(let block): block.shared?.network
        }
    }
}

/// y = down( silu(gate x) * (up x) ): gate and up (m, d), down (d, m).
struct FeedForwardWeights {
    let gate, up, down: PackedMatrix
}

/// A layer's router and shared expert.
struct ExpertBlock {
    /// Ordinal among the layers that have experts.
    let ordinal: Int
    /// (experts, d), F32
    let gate: PackedMatrix
    let shared: Shared?

    struct Shared {
        /// w (d,): the shared expert's weight is sigmoid(w · x).
        let gate: UnsafePointer<Float>
        let network: FeedForwardWeights
    }
}

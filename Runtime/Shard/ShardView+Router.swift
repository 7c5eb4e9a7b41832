// A router shard against its own configuration: every matrix that the forward pass will read is there and
// has the shape that the configuration says, so the router checks nothing later.

extension ShardView {
    /// The router's configuration, with all tensors checked against it.
    /// - Throws: `ShardError`, also when this is an expert's shard.
    public func routerConfig() throws(ShardError) -> RouterConfig {
        guard kind == .router, let blob = unsafe blob(.config) else {
            throw ShardError(.damaged, "this is not a router's shard")
        }
        let config = try unsafe RouterConfig(decoding: blob)
        try checkTensors(of: config)
        return config
    }

    private func checkTensors(of c: RouterConfig) throws(ShardError) {
        try checkShape(.tokenEmbedding, rows: c.vocabulary, cols: c.hidden)
        try checkShape(.outputNorm, rows: 1, cols: c.hidden)
        try checkShape(.output, rows: c.vocabulary, cols: c.hidden)
        for layer in 0..<c.layers {
            try checkAttention(layer, c)
            try checkShape(.ffnNorm, layer: layer, rows: 1, cols: c.hidden)
            if c.isMoE[layer] {
                try checkShape(.gate, layer: layer, rows: c.expertCount, cols: c.hidden)
                if c.sharedExpertIntermediate > 0 {
                    try checkShape(.sharedExpertGate, layer: layer, rows: 1, cols: c.hidden)
                    try checkFeedForward(
                        layer, (.sharedGate, .sharedUp, .sharedDown), c.hidden, c.sharedExpertIntermediate)
                }
            } else {
                try checkFeedForward(layer, (.denseGate, .denseUp, .denseDown), c.hidden, c.denseIntermediate)
            }
        }
    }

    private func checkAttention(_ layer: Int, _ c: RouterConfig) throws(ShardError) {
        let (queries, keys) = (c.heads * c.headDim, c.kvHeads * c.headDim)
        try checkShape(.attentionNorm, layer: layer, rows: 1, cols: c.hidden)
        try checkShape(.q, layer: layer, rows: queries, cols: c.hidden)
        try checkShape(.k, layer: layer, rows: keys, cols: c.hidden)
        try checkShape(.v, layer: layer, rows: keys, cols: c.hidden)
        try checkShape(.o, layer: layer, rows: c.hidden, cols: queries)
        switch c.queryKeyNorm {
        case .none: break
        case .perHead:
            try checkShape(.qNorm, layer: layer, rows: 1, cols: c.headDim)
            try checkShape(.kNorm, layer: layer, rows: 1, cols: c.headDim)
        case .acrossHeads:
            try checkShape(.qNorm, layer: layer, rows: 1, cols: queries)
            try checkShape(.kNorm, layer: layer, rows: 1, cols: keys)
        }
        // All three biases or none.
        if entry(.qBias, layer: layer) != nil || entry(.kBias, layer: layer) != nil
            || entry(.vBias, layer: layer) != nil
        {
            // Biases are added head by head, after a norm that takes all heads together: no model has both.
            guard c.queryKeyNorm != .acrossHeads else {
                throw ShardError(.badConfig, "layer \(layer) has biases and a norm across heads")
            }
            try checkShape(.qBias, layer: layer, rows: 1, cols: queries)
            try checkShape(.kBias, layer: layer, rows: 1, cols: keys)
            try checkShape(.vBias, layer: layer, rows: 1, cols: keys)
        }
    }

    private func checkFeedForward(
        _ layer: Int, _ roles: (gate: ShardRole, up: ShardRole, down: ShardRole), _ hidden: Int, _ width: Int
    ) throws(ShardError) {
        try checkShape(roles.gate, layer: layer, rows: width, cols: hidden)
        try checkShape(roles.up, layer: layer, rows: width, cols: hidden)
        try checkShape(roles.down, layer: layer, rows: hidden, cols: width)
    }
}

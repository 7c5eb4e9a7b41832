// What a router of this shape takes in memory beside its shard: so that room can be reserved before it starts.
// Everything is counted at its largest, a whole batch with all rows of a prompt, since the budget is a promise.
import Kernels

extension RouterConfig {
    /// Rows of the largest batch, and those of them that may want logits: every sequence's and some of a prompt's.
    public static let batchRows = 256
    private static let logitRows = 48

    /// Keys and values of one position over all layers, in bytes.
    public var sequenceBytesPerToken: Int {
        // A head that the format cannot hold has been refused.
        let head =
            (kvType.keyBytes(headDim: headDim, capacity: 64) ?? 0)
            + (kvType.valueBytes(headDim: headDim, capacity: 64) ?? 0)
        return layers * kvHeads * ((head + 63) / 64)
    }

    /// Private memory of the process, its arenas and what the kernel keeps for it, in bytes, at most.
    public var routerOverhead: Int {
        let width = max(sharedExpertIntermediate, denseIntermediate)
        // Per row: stream, the same of a batch that was set aside, update, normed and heads' results (these two also as
        // the quantised products read them), q, k, v, gate and up, scores, probabilities, rotations.
        let attention = 2 * heads * headDim + 2 * kvHeads * headDim
        let floats = 5 * hidden + attention + 2 * width + 2 * expertCount + headDim
        let prepared = [hidden, heads * headDim, width].reduce(0) {
            $0 + (WeightFormat.q8_0.preparedBytes(columns: ($1 + 31) / 32 * 32) ?? 0)
        }
        let activations = Self.batchRows * (4 * floats + prepared)
        // Logits and the sampler's candidates.
        let vocabularyRows = Self.logitRows * 4 * (vocabulary + hidden) + 40 * vocabulary
        // Its request arena, and the answers of two layers: one being read, one being written.
        let arenas = Self.batchRows * hidden * 4 * (1 + 2 * expertsPerToken)
        let scores = 2 * context * max(1, heads / max(1, kvHeads)) * 4
        return activations + vocabularyRows + arenas + scores + Self.processBytes
    }

    /// Heap, stacks, tokenizer tables, page tables.
    private static let processBytes = 6 << 20
}

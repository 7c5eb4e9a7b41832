// The experts of one function, as pointers into its shard.
import Kernels
import Shard

/// All experts of an expert shard, of one shape: x (width,) -> (intermediate,) -> (width,).
final class ExpertModel {
    /// Floats of a row.
    let width: Int
    let intermediate: Int
    let experts: [FeedForwardWeights]

    /// - Throws: `ShardError` when this is not an expert's shard.
    init(_ shard: ShardView) throws(ShardError) {
        guard case .expert(let hidden, let intermediate, let count) = shard.kind else {
            throw ShardError(.damaged, "this is not an expert's shard; deploy the model again")
        }
        (width, self.intermediate) = (hidden, intermediate)
        var experts: [FeedForwardWeights] = []
        experts.reserveCapacity(count)
        for index in 0..<count {
            experts.append(
                FeedForwardWeights(
                    gate: try shard.matrix(.expertGate, expert: index), up: try shard.matrix(.expertUp, expert: index),
                    down: try shard.matrix(.expertDown, expert: index)))
        }
        self.experts = experts
    }
}

// Who gets how many rows of a step. Every sequence that only needs its next token gets its row; what is left, or as
// much of it as running answers can bear, is divided evenly between prompts. Results do not depend on this (rows never
// depend on their batch), only waiting times do.
import Shard

/// How the rows of one step are divided.
enum StepPlan {
    /// Rows of a step in all.
    static let mostRows = RouterConfig.batchRows
    /// Rows of prompts that want logits, in all: each costs the memory of a row of the vocabulary.
    static let mostPromptLogits = 32

    struct Need {
        let rows: Int
        /// All its rows want logits.
        let logits: Bool
    }

    /// Rows for each sequence, none more than it needs.
    /// - Parameters:
    ///   - first: who is served first, another one each step.
    ///   - besideAnswers: most rows of prompts in all when some sequence only needs its next token.
    static func shares(_ needs: [Need], first: Int, besideAnswers: Int) -> [Int] {
        var shares = Array(repeating: 0, count: needs.count)
        var rest = mostRows
        var scored = mostPromptLogits
        let order = needs.indices.map { ($0 + first) % needs.count }
        for index in order where needs[index].rows == 1 && rest > 0 {
            shares[index] = 1
            rest -= 1
        }
        if rest < mostRows { rest = min(rest, besideAnswers) }
        let readers = order.filter { needs[$0].rows > 1 }
        for (served, index) in readers.enumerated() {
            let left = readers.count - served
            var share = min(needs[index].rows, rest > 0 ? max(1, rest / left) : 0)
            if needs[index].logits {
                share = min(share, scored > 0 ? max(1, scored / left) : 0)
                scored -= share
            }
            shares[index] = share
            rest -= share
        }
        return shares
    }
}

// Log-probabilities: log-softmax of the model's own logits, before temperature and penalties, in double
// precision. What a caller asks for is few alternatives of many tokens, so the best are kept by insertion.
import Kernels
import Wire

/// Scores tokens of a row of logits.
struct TokenScorer {
    /// Most alternatives that a caller may ask for, as in OpenAI's API.
    static let mostAlternatives = 20
    /// What stands for a probability of nothing, since JSON has no infinity (as in vLLM).
    static let least: Float = -9999

    /// A token's bytes as shown beside its score.
    let bytes: (Int32) -> [UInt8]

    /// The score of `token` with the `alternatives` most probable tokens (which may include it), best first,
    /// ties by id.
    func score(_ token: Int32, in logits: UnsafeBufferPointer<Float>, alternatives: Int) -> TokenScore {
        guard let base = logits.baseAddress else { return unscored(token) }
        let normaliser = Kernels.logSumExp(base, count: logits.count)
        func scored(_ id: Int32) -> ScoredToken {
            let logprob = Float(Double(logits[Int(id)]) - normaliser)
            return ScoredToken(id: id, bytes: bytes(id), logprob: logprob >= Self.least ? logprob : Self.least)
        }
        return TokenScore(token: scored(token), top: Self.best(alternatives, of: logits).map(scored))
    }

    /// The score of a token that nothing came before.
    func unscored(_ token: Int32) -> TokenScore {
        TokenScore(token: ScoredToken(id: token, bytes: bytes(token), logprob: 0), top: [])
    }

    static func best(_ count: Int, of logits: UnsafeBufferPointer<Float>) -> [Int32] {
        var best: [Int32] = []
        guard count > 0 else { return best }
        best.reserveCapacity(count + 1)
        for (id, logit) in logits.enumerated() {
            if best.count == count, let last = best.last, !(logit > logits[Int(last)]) { continue }
            // A later id goes behind its equals.
            let place = best.firstIndex { logit > logits[Int($0)] } ?? best.count
            best.insert(Int32(id), at: place)
            if best.count > count { best.removeLast() }
        }
        return best
    }
}

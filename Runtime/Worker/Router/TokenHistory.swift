// Which tokens a sequence has seen and how often, for penalties. Kept only for sequences that have some. The
// order in which a dictionary hands out its entries does not matter: each changes its own logit alone.

/// Tokens of prompt and output, counted.
struct TokenHistory {
    private var prompt: Set<Int32>
    private var output: [Int32: Int] = [:]

    init(prompt: [Int32]) { self.prompt = Set(prompt) }

    mutating func add(_ token: Int32) { output[token, default: 0] += 1 }

    /// Changes logits (vocabulary,) in place. Repetition, over prompt and output: positive logits are divided,
    /// others multiplied (Keskar et al., "CTRL", 2019, as in transformers). Presence and frequency, over the
    /// output: subtracted once and per occurrence, as in OpenAI's API.
    func penalize(_ logits: UnsafeMutableBufferPointer<Float>, _ plan: SamplingPlan) {
        if plan.repetition != 1 {
            for token in prompt where output[token] == nil { Self.repeated(&logits[Int(token)], plan.repetition) }
            for token in output.keys { Self.repeated(&logits[Int(token)], plan.repetition) }
        }
        for (token, count) in output {
            logits[Int(token)] -= Float(count) * plan.frequency + plan.presence
        }
    }

    private static func repeated(_ logit: inout Float, _ penalty: Float) {
        logit = logit > 0 ? logit / penalty : logit * penalty
    }
}

// How a sequence draws its tokens: what the request says, else what the model's generation_config says, else
// OpenAI's default, checked once. A model whose generation_config says do_sample false is greedy unless the
// request names a temperature.
import Shard
import Wire

/// Settled and checked settings of one sequence.
struct SamplingPlan: Equatable {
    /// 0: greedy.
    let temperature: Double
    /// 1: off.
    let topP: Double
    /// 0: off.
    let topK: Int
    /// 0: off.
    let minP: Double
    /// 1: off.
    let repetition: Float
    /// 0: off.
    let presence: Float
    let frequency: Float
    let seed: UInt64
    let choice: UInt32

    /// - Throws: `RouterFailure("invalid_parameter")` naming the parameter and what it may be.
    init(_ spec: SamplingSpec, defaults: GenerationDefaults) throws(RouterFailure) {
        func checked(_ value: Float, _ range: ClosedRange<Float>, _ name: String) throws(RouterFailure) -> Float {
            guard range.contains(value) else {
                throw RouterFailure(
                    "invalid_parameter", parameter: name,
                    "\(name) is \(value), but must lie within \(range.lowerBound) and \(range.upperBound)")
            }
            return value
        }
        let greedy = defaults.doSample == false
        let temperature = spec.temperature ?? (greedy ? 0 : defaults.temperature ?? 1)
        self.temperature = Double(try checked(temperature, 0...100, "temperature"))
        topP = Double(try checked(spec.topP ?? defaults.topP ?? 1, 0...1, "top_p"))
        minP = Double(try checked(spec.minP ?? defaults.minP ?? 0, 0...1, "min_p"))
        // Some clients say -1 for "all".
        topK = max(0, spec.topK.map { Int($0) } ?? defaults.topK ?? 0)
        repetition = try checked(
            spec.repetitionPenalty ?? defaults.repetitionPenalty ?? 1, 0.01...100, "repetition_penalty")
        presence = try checked(spec.presencePenalty ?? 0, -100...100, "presence_penalty")
        frequency = try checked(spec.frequencyPenalty ?? 0, -100...100, "frequency_penalty")
        (seed, choice) = (spec.seed, spec.choice)
    }

    /// Whether logits depend on what was said before.
    var penalizes: Bool { repetition != 1 || presence != 0 || frequency != 0 }
}

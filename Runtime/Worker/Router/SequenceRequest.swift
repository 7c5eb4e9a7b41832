// A caller's request after everything in it has been checked: numbers within their ranges, ids within the
// vocabulary, lengths within the context. What comes of it can no longer be refused.
import Shard
import Wire

/// A sequence as asked for, checked.
struct SequenceRequest {
    /// Not empty.
    let prompt: [Int32]
    /// What the prompt decodes to.
    let promptText: String
    let plan: SamplingPlan
    /// Most tokens of output; with the prompt within the context.
    let limit: Int
    let stop: [String]
    /// Tokens that end it; none if the caller wants to go on past them.
    let ends: Set<Int32>
    /// Alternatives beside each token's score; nil: no scores.
    let alternatives: Int?
    /// Off for a sequence that goes on after output: its caller has the prompt's scores.
    let scoresPrompt: Bool
    let traces: Bool
    /// Whether the output is a text of its own and the tokenizer puts a blank before each, which is no part of it.
    let beginsText: Bool
    /// Output that the caller has; at most `limit`.
    let resumed: [Int32]
    /// Whose it is.
    let owner: UInt64
    /// What the HTTP request is called.
    let id: RequestID?

    /// Rows of the prompt want logits, too, not only its last one.
    var wantsPromptLogits: Bool { scoresPrompt || traces }
    /// Tokens that may be in a cache already: the last one's row says what comes next. None where each row is wanted.
    var known: ArraySlice<Int32> { wantsPromptLogits ? [] : (prompt + resumed).dropLast() }

    static let mostStops = 64
    static let mostStopBytes = 1024

    /// - Throws: `RouterFailure` naming the parameter, the numbers and the limit.
    init(_ spec: GenerateSpec, prompts: PromptReader, config: RouterConfig) throws(RouterFailure) {
        (owner, id) = (spec.owner, spec.request)
        plan = try SamplingPlan(spec.sampling, defaults: config.generation)
        guard spec.stop.count <= Self.mostStops, spec.stop.allSatisfy({ $0.utf8.count <= Self.mostStopBytes }) else {
            throw RouterFailure(
                "invalid_parameter", parameter: "stop",
                "stop may hold \(Self.mostStops) texts of \(Self.mostStopBytes) bytes each at most")
        }
        if let count = spec.topLogprobs, count > TokenScorer.mostAlternatives {
            throw RouterFailure(
                "invalid_parameter", parameter: "top_logprobs",
                "\(count) alternatives were asked for, at most \(TokenScorer.mostAlternatives) are given")
        }
        (prompt, promptText) = try prompts.read(spec.prompt)
        beginsText = prompts.beginsText(after: spec.prompt, prompt)
        limit = try Self.limit(spec, prompt: prompt.count, context: config.context)
        guard spec.resumed.count <= limit, prompts.knows(spec.resumed) else {
            throw RouterFailure(
                "invalid_parameter", parameter: "resumed",
                "the output to resume has \(spec.resumed.count) tokens of \(limit), or ids beyond the vocabulary")
        }
        stop = spec.stop
        ends = spec.ignoresEnd ? [] : Set(config.eosTokens)
        alternatives = spec.topLogprobs.map { Int($0) }
        scoresPrompt = spec.promptScores && spec.resumed.isEmpty
        traces = spec.trace && spec.resumed.isEmpty
        resumed = spec.resumed
    }

    private static func limit(_ spec: GenerateSpec, prompt: Int, context: Int) throws(RouterFailure) -> Int {
        let parameter = if case .chat = spec.prompt { "messages" } else { "prompt" }
        let wanted = spec.maxTokens.map { Int($0) }
        if prompt > context || wanted == nil && prompt == context {
            throw RouterFailure(
                "context_length_exceeded", parameter: parameter,
                "the prompt has \(prompt) tokens, but this model's context holds \(context), prompt and output "
                    + "together; shorten the prompt")
        }
        guard let wanted else { return context - prompt }
        guard wanted <= context - prompt else {
            throw RouterFailure(
                "context_length_exceeded", parameter: "max_tokens",
                "the prompt has \(prompt) tokens and \(wanted) are asked for, \(prompt + wanted) in all, but this "
                    + "model's context holds \(context); ask for at most \(context - prompt) or shorten the prompt")
        }
        return wanted
    }
}

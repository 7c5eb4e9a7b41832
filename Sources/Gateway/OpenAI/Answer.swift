// An answer in the making: events of its sequences in, OpenAI's objects out, whole or in chunks. The same
// accumulation serves both, so that streaming cannot say something else than the whole answer.
import Wire

/// What completions and chat answers have in common.
protocol Answer: Sendable {
    /// Takes an event of a choice; answers the chunks that a stream sends for it.
    mutating func add(_ choice: Int, _ event: RouterEvent) -> [JSONValue]
    /// The whole answer, once it is complete.
    var whole: JSONValue { get }
    var head: AnswerHead { get set }
}

/// What every object of an answer begins with, and what is counted.
struct AnswerHead: Sendable {
    let id: String
    let created: Int64
    let model: String
    /// Choices that share a prompt: its tokens count once.
    let choicesPerPrompt: Int
    /// Every chunk says `usage: null`, and one more says the usage.
    let includesUsage: Bool
    private var promptTokens = 0
    /// Those of the prompts' tokens that were not computed again.
    private var cachedTokens = 0
    private var completionTokens = 0
    private var unfinished: Int
    /// Of the choice that spoke first.
    private(set) var firstToken: FirstToken?

    init(prefix: String, model: String, choices: Int, perPrompt: Int, includesUsage: Bool, created: Int64) {
        id =
            prefix + String(UInt64.random(in: 0 ... .max), radix: 16) + String(UInt64.random(in: 0 ... .max), radix: 16)
        (self.model, self.created, choicesPerPrompt) = (model, created, perPrompt)
        (self.includesUsage, unfinished) = (includesUsage, choices)
    }

    var isComplete: Bool { unfinished == 0 }

    mutating func count(_ choice: Int, _ event: RouterEvent) {
        switch event {
        case .started(let prompt, _, let cached):
            guard choice % choicesPerPrompt == 0 else { return }
            promptTokens += prompt.count
            cachedTokens += min(Int(cached), prompt.count)
        case .finished(_, _, let tokens):
            completionTokens += Int(tokens)
            unfinished -= 1
        case .firstToken(let parts): firstToken = firstToken ?? parts
        case .promptScores, .token, .failed, .trace, .routes, .used: break
        }
    }

    var usage: JSONValue {
        [
            "prompt_tokens": .integer(promptTokens), "completion_tokens": .integer(completionTokens),
            "total_tokens": .integer(promptTokens + completionTokens),
            "prompt_tokens_details": ["cached_tokens": .integer(cachedTokens)],
        ]
    }

    /// The object around `choices`; `usage` nil leaves the member out.
    func object(_ kind: String, choices: [JSONValue], usage: JSONValue?) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init(name: "id", value: .string(id)), .init(name: "object", value: .string(kind)),
            .init(name: "created", value: .integer(created)), .init(name: "model", value: .string(model)),
            .init(name: "choices", value: .array(choices)),
        ]
        if let usage { members.append(.init(name: "usage", value: usage)) }
        return .object(members)
    }

    func chunk(_ kind: String, _ choice: JSONValue) -> JSONValue {
        object(kind, choices: [choice], usage: includesUsage ? .some(.null) : nil)
    }

    /// The last chunk of a stream that asked for it.
    func usageChunk(_ kind: String) -> JSONValue? {
        // `nil` alone would be a JSON null here.
        includesUsage ? object(kind, choices: [], usage: usage) : JSONValue?.none
    }
}

extension FinishReason {
    var name: JSONValue {
        switch self {
        case .stop: "stop"
        case .length: "length"
        }
    }
}

extension ScoredToken {
    /// JSON has no infinity; OpenAI says -9999 for what has no probability.
    var jsonLogprob: JSONValue {
        logprob.isFinite ? .number(Double("\(logprob)") ?? Double(logprob), integer: nil) : -9999
    }
}

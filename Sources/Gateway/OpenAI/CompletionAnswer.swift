// The answer of the completions endpoint.
import Wire

struct CompletionAnswer: Answer {
    static let kind = "text_completion"

    private struct Choice: Sendable {
        var text = ""
        var logprobs: CompletionLogprobs
        var promptText = ""
        var finish: FinishReason?
        /// The prompt still has to be sent (echo); with log-probabilities once they are all there.
        var owesEcho = false
    }

    var head: AnswerHead
    private var choices: [Choice]
    private let echo: Bool
    private let scored: Bool
    private let streams: Bool
    private let tokensAsIDs: Bool

    init(_ request: CompletionRequest, created: Int64) {
        let count = request.prompts.count * request.common.choices
        head = AnswerHead(
            prefix: "cmpl-", model: request.common.model, choices: count, perPrompt: request.common.choices,
            includesUsage: request.common.includesUsage, created: created)
        tokensAsIDs = request.common.tokensAsIDs
        let none = CompletionLogprobs(offset: 0, asIDs: tokensAsIDs)
        choices = Array(repeating: Choice(logprobs: none), count: count)
        (echo, scored, streams) = (request.echo, request.logprobs != nil, request.common.stream)
    }

    mutating func add(_ index: Int, _ event: RouterEvent) -> [JSONValue] {
        head.count(index, event)
        switch event {
        case .started(_, let text, _):
            choices[index].logprobs = CompletionLogprobs(
                offset: echo ? 0 : text.unicodeScalars.count, asIDs: tokensAsIDs)
            guard echo else { return [] }
            choices[index].text = text
            choices[index].promptText = text
            choices[index].owesEcho = true
            return scored ? [] : [echoChunk(index)]
        case .promptScores(let first, let scores):
            for (position, score) in scores.enumerated() {
                choices[index].logprobs.add(score, hasScore: Int(first) + position > 0)
            }
            return []
        case .token(_, _, let text, let score):
            let before = choices[index].owesEcho ? [echoChunk(index)] : []
            choices[index].text += text
            if let score, scored { choices[index].logprobs.add(score) }
            guard !text.isEmpty || scored else { return before }
            return before + [chunk(index, text: text, logprobs: streamed(index), finish: .null)]
        case .finished(let reason, let text, _):
            let before = choices[index].owesEcho ? [echoChunk(index)] : []
            choices[index].text += text
            choices[index].finish = reason
            return before + [chunk(index, text: text, logprobs: .null, finish: reason.name)]
        case .firstToken, .failed, .trace, .routes, .used: return []
        }
    }

    /// A stream takes the log-probabilities out as they come; a whole answer keeps them.
    private mutating func streamed(_ index: Int) -> JSONValue {
        guard scored, streams else { return .null }
        return choices[index].logprobs.take()
    }

    private mutating func echoChunk(_ index: Int) -> JSONValue {
        choices[index].owesEcho = false
        let logprobs = choices[index].logprobs.isEmpty ? .null : streamed(index)
        return chunk(index, text: choices[index].promptText, logprobs: logprobs, finish: .null)
    }

    private func chunk(_ index: Int, text: String, logprobs: JSONValue, finish: JSONValue) -> JSONValue {
        head.chunk(Self.kind, Self.choice(index, text: text, logprobs: logprobs, finish: finish))
    }

    private static func choice(_ index: Int, text: String, logprobs: JSONValue, finish: JSONValue) -> JSONValue {
        ["text": .string(text), "index": .integer(index), "logprobs": logprobs, "finish_reason": finish]
    }

    var whole: JSONValue {
        let list = choices.enumerated().map { index, choice in
            Self.choice(
                index, text: choice.text, logprobs: scored ? choice.logprobs.json : .null,
                finish: choice.finish?.name ?? .null)
        }
        return head.object(Self.kind, choices: list, usage: head.usage)
    }
}

// The answer of the chat endpoint. A stream's first chunk of each choice carries the role, its last the reason
// for the end.
import Wire

struct ChatAnswer: Answer {
    static let kind = "chat.completion"
    static let chunkKind = "chat.completion.chunk"

    private struct Choice: Sendable {
        var text = ""
        var logprobs: [JSONValue] = []
        var finish: FinishReason?
    }

    var head: AnswerHead
    private var choices: [Choice]
    private let scored: Bool

    init(_ request: ChatRequest, created: Int64) {
        head = AnswerHead(
            prefix: "chatcmpl-", model: request.common.model, choices: request.common.choices,
            perPrompt: request.common.choices, includesUsage: request.common.includesUsage, created: created)
        choices = Array(repeating: Choice(), count: request.common.choices)
        scored = request.topLogprobs != nil
    }

    mutating func add(_ index: Int, _ event: RouterEvent) -> [JSONValue] {
        head.count(index, event)
        switch event {
        case .started:
            return [chunk(index, delta: ["role": "assistant", "content": "", "refusal": nil])]
        case .token(_, _, let text, let score):
            choices[index].text += text
            var logprobs = JSONValue.null
            if let score, scored {
                let entry = Self.entry(score)
                choices[index].logprobs.append(entry)
                logprobs = Self.logprobs([entry])
            }
            guard !text.isEmpty || scored else { return [] }
            return [chunk(index, delta: ["content": .string(text)], logprobs: logprobs)]
        case .finished(let reason, let text, _):
            choices[index].text += text
            choices[index].finish = reason
            let rest = text.isEmpty ? [] : [chunk(index, delta: ["content": .string(text)])]
            return rest + [chunk(index, delta: .object([]), finish: reason.name)]
        case .promptScores, .firstToken, .failed, .trace, .routes, .used: return []
        }
    }

    private func chunk(
        _ index: Int, delta: JSONValue, logprobs: JSONValue = .null, finish: JSONValue = .null
    ) -> JSONValue {
        head.chunk(
            Self.chunkKind,
            ["index": .integer(index), "delta": delta, "logprobs": logprobs, "finish_reason": finish])
    }

    private static func logprobs(_ entries: [JSONValue]) -> JSONValue { ["content": .array(entries), "refusal": nil] }

    private static func entry(_ score: TokenScore) -> JSONValue {
        guard case .object(let members) = token(score.token) else { return .null }
        return .object(members + [.init(name: "top_logprobs", value: .array(score.top.map(token)))])
    }

    private static func token(_ token: ScoredToken) -> JSONValue {
        [
            "token": .string(String(decoding: token.bytes, as: UTF8.self)), "logprob": token.jsonLogprob,
            "bytes": .array(token.bytes.map { .integer($0) }),
        ]
    }

    var whole: JSONValue {
        let list = choices.enumerated().map { index, choice -> JSONValue in
            [
                "index": .integer(index),
                "message": ["role": "assistant", "content": .string(choice.text), "refusal": nil],
                "logprobs": scored ? Self.logprobs(choice.logprobs) : .null,
                "finish_reason": choice.finish?.name ?? .null,
            ]
        }
        return head.object(Self.kind, choices: list, usage: head.usage)
    }
}

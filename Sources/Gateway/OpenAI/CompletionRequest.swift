// POST /v1/completions: four forms of prompt (text, texts, ids, arrays of ids), echo, and the old form of
// log-probabilities.
import Wire

/// A request for completions.
struct CompletionRequest: Sendable {
    /// Prompts times choices.
    static let mostSequences = 64
    private static let defaultTokens: UInt32 = 16

    let common: GenerationFields
    let prompts: [Prompt]
    let echo: Bool
    /// Alternatives per position; nil: no log-probabilities.
    let logprobs: UInt8?
    let maxTokens: UInt32?

    /// - Throws: `APIError` 400 with the parameter.
    init(_ body: JSONValue) throws(APIError) {
        let fields = try RequestFields(body)
        common = try GenerationFields(fields)
        prompts = try Self.prompts(fields)
        guard prompts.count * common.choices <= Self.mostSequences else {
            throw .badParameter(
                "prompt",
                "\(prompts.count) prompts with 'n' \(common.choices) are more than \(Self.mostSequences) sequences")
        }
        echo = try fields.bool("echo") ?? false
        logprobs = try fields.integer("logprobs", in: 0...5).map { UInt8($0) }
        let most = try GenerationFields.maxTokens(fields, "max_tokens")
        maxTokens = most.given ? most.value : Self.defaultTokens
        try fields.refuse("suffix", "text is only continued, not filled in") { $0 == .string("") }
        let choices = Int64(common.choices)
        try fields.refuse("best_of", "every choice is returned; use 'n'") {
            if case .number(_, choices) = $0 { true } else { false }
        }
    }

    /// One per choice, all choices of a prompt together.
    var specs: [GenerateSpec] {
        prompts.flatMap { prompt in
            (0..<common.choices).map { choice in
                var sampling = common.sampling
                sampling.choice = UInt32(choice)
                return GenerateSpec(
                    prompt: prompt, sampling: sampling, maxTokens: maxTokens, stop: common.stop, topLogprobs: logprobs,
                    promptScores: echo && logprobs != nil, ignoresEnd: common.ignoresEnd)
            }
        }
    }

    private static func prompts(_ fields: RequestFields) throws(APIError) -> [Prompt] {
        switch fields["prompt"] {
        case nil: throw .badParameter("prompt", "'prompt' is missing")
        case .string(let text): return [.text(text)]
        case .array(let elements):
            guard let first = elements.first else { throw .badParameter("prompt", "'prompt' is an empty array") }
            if case .number = first { return [.tokens(try ids(elements, "prompt"))] }
            var prompts: [Prompt] = []
            for (index, element) in elements.enumerated() {
                switch (first, element) {
                case (.string, .string(let text)): prompts.append(.text(text))
                case (.array, .array(let inner)): prompts.append(.tokens(try ids(inner, "prompt[\(index)]")))
                default:
                    throw .badParameter(
                        "prompt",
                        "'prompt[\(index)]' is \(element.kind); a prompt is a string, an array of strings, "
                            + "an array of token ids, or an array of arrays of token ids")
                }
            }
            return prompts
        default:
            throw fields.wrong(
                "prompt", "a string, an array of strings, an array of token ids, or an array of such arrays")
        }
    }

    private static func ids(_ elements: [JSONValue], _ path: String) throws(APIError) -> [Int32] {
        guard !elements.isEmpty else { throw .badParameter("prompt", "'\(path)' is an empty array") }
        var ids: [Int32] = []
        ids.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            guard case .number(_, let integer?) = element, let id = Int32(exactly: integer), id >= 0 else {
                throw .badParameter("prompt", "'\(path)[\(index)]' is no token id (an integer from 0 on)")
            }
            ids.append(id)
        }
        return ids
    }
}

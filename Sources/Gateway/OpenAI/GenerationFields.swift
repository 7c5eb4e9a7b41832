// What completions and chat have in common: how the next token is drawn, where the output ends, how it comes.
// Fields that would change the result and are not supported are refused; unknown ones are ignored, as clients of
// OpenAI's API expect.
import Wire

/// The common fields of both endpoints.
struct GenerationFields: Sendable {
    static let mostChoices: Int64 = 16
    static let mostStops = 16
    static let longestStop = 1024

    let model: String
    /// Without choice; the seed is drawn when none is given.
    let sampling: SamplingSpec
    let stop: [String]
    /// Choices per prompt.
    let choices: Int
    let stream: Bool
    /// A last chunk with the usage.
    let includesUsage: Bool
    /// Go on behind the model's end tokens (llama-server's and vLLM's `ignore_eos`), for measurements.
    let ignoresEnd: Bool
    /// Write tokens of log-probabilities as `token_id:N` (vLLM's field): texts of tokens need not be unique.
    let tokensAsIDs: Bool

    /// - Throws: `APIError` 400 with the parameter.
    init(_ fields: RequestFields) throws(APIError) {
        guard let model = try fields.string("model") else {
            throw .badParameter("model", "'model' is missing: the name of a deployed model")
        }
        self.model = model
        sampling = SamplingSpec(
            temperature: try fields.number("temperature", in: 0...2),
            topP: try fields.number("top_p", in: 0...1, above: true),
            topK: try fields.integer("top_k", in: -1...Int64(Int32.max)).map { Int32(max($0, 0)) },
            minP: try fields.number("min_p", in: 0...1),
            repetitionPenalty: try fields.number("repetition_penalty", in: 0...10, above: true),
            presencePenalty: try fields.number("presence_penalty", in: -2...2),
            frequencyPenalty: try fields.number("frequency_penalty", in: -2...2),
            seed: try fields.integer("seed", in: .min ... .max).map { UInt64(bitPattern: $0) }
                ?? .random(in: 0 ... .max))
        stop = try Self.stop(fields)
        choices = Int(try fields.integer("n", in: 1...Self.mostChoices) ?? 1)
        stream = try fields.bool("stream") ?? false
        includesUsage = try Self.includesUsage(fields, stream: stream)
        ignoresEnd = try fields.bool("ignore_eos") ?? false
        tokensAsIDs = try fields.bool("return_tokens_as_token_ids") ?? false
        try fields.refuse("logit_bias", "no token's probability can be changed") { $0 == .object([]) }
    }

    private static func stop(_ fields: RequestFields) throws(APIError) -> [String] {
        let texts: [String]
        switch fields["stop"] {
        case nil: return []
        case .string(let text): texts = [text]
        case .array(let elements):
            var strings: [String] = []
            for (index, element) in elements.enumerated() {
                guard case .string(let text) = element else {
                    throw .badParameter("stop", "'stop[\(index)]' must be a string, not \(element.kind)")
                }
                strings.append(text)
            }
            texts = strings
        default: throw fields.wrong("stop", "a string or an array of strings")
        }
        guard texts.count <= mostStops else {
            throw .badParameter("stop", "'stop' has \(texts.count) texts, at most \(mostStops) are allowed")
        }
        guard texts.allSatisfy({ !$0.isEmpty && $0.utf8.count <= longestStop }) else {
            throw .badParameter("stop", "each text of 'stop' must have 1 to \(longestStop) bytes")
        }
        return texts
    }

    private static func includesUsage(_ fields: RequestFields, stream: Bool) throws(APIError) -> Bool {
        guard let value = fields["stream_options"] else { return false }
        guard stream else {
            throw .badParameter("stream_options", "'stream_options' is allowed only when 'stream' is true")
        }
        return try RequestFields(value, path: "stream_options").bool("include_usage") ?? false
    }

    /// Most tokens of output under one of its names; nil when there is none, `-1` (as far as the context goes) too.
    static func maxTokens(_ fields: RequestFields, _ name: String) throws(APIError) -> (given: Bool, value: UInt32?) {
        guard let value = try fields.integer(name, in: -1...Int64(Int32.max)) else { return (false, nil) }
        return (true, value < 0 ? nil : UInt32(value))
    }
}

// POST /v1/chat/completions: turns of a conversation, whose content is a string or an array of text parts.
import Wire

/// A request for a chat completion.
struct ChatRequest: Sendable {
    private static let roles = ["system", "developer", "user", "assistant"]

    let common: GenerationFields
    let turns: [ChatTurn]
    /// For the model's chat template, as in vLLM and llama-server.
    let settings: [NamedSetting]
    /// Alternatives per position; nil: no log-probabilities.
    let topLogprobs: UInt8?
    let maxTokens: UInt32?

    /// - Throws: `APIError` 400 with the parameter.
    init(_ body: JSONValue) throws(APIError) {
        let fields = try RequestFields(body)
        common = try GenerationFields(fields)
        turns = try Self.turns(fields)
        settings = try Self.settings(fields)
        let wanted = try fields.bool("logprobs") ?? false
        let alternatives = try fields.integer("top_logprobs", in: 0...20)
        guard wanted || alternatives == nil else {
            throw .badParameter("top_logprobs", "'top_logprobs' is allowed only when 'logprobs' is true")
        }
        topLogprobs = wanted ? UInt8(alternatives ?? 0) : nil
        let newer = try GenerationFields.maxTokens(fields, "max_completion_tokens")
        let older = try GenerationFields.maxTokens(fields, "max_tokens")
        maxTokens = newer.given ? newer.value : older.value
        try Self.refuseUnsupported(fields)
    }

    /// One per choice.
    var specs: [GenerateSpec] {
        (0..<common.choices).map { choice in
            var sampling = common.sampling
            sampling.choice = UInt32(choice)
            return GenerateSpec(
                prompt: .chat(turns, settings: settings), sampling: sampling, maxTokens: maxTokens, stop: common.stop,
                topLogprobs: topLogprobs,
                ignoresEnd: common.ignoresEnd)
        }
    }

    private static func turns(_ fields: RequestFields) throws(APIError) -> [ChatTurn] {
        guard let messages = try fields.objects("messages") else {
            throw .badParameter("messages", "'messages' is missing")
        }
        guard !messages.isEmpty else { throw .badParameter("messages", "'messages' is an empty array") }
        var turns: [ChatTurn] = []
        for message in messages {
            guard let role = try message.string("role") else { throw message.wrong("role", "a string") }
            guard roles.contains(role) else {
                throw .badParameter(
                    message.path("role"),
                    "'\(message.path("role"))' is '\(role.prefix(40))', supported are \(roles.joined(separator: ", "))")
            }
            try message.refuse("tool_calls", "models here call no tools") { $0 == .array([]) }
            try message.refuse("function_call", "models here call no tools")
            // OpenAI's newer name for the same thing.
            turns.append(ChatTurn(role: role == "developer" ? "system" : role, content: try content(message)))
        }
        return turns
    }

    /// Which names a caller may choose the router knows.
    private static func settings(_ fields: RequestFields) throws(APIError) -> [NamedSetting] {
        let name = "chat_template_kwargs"
        guard let value = fields[name] else { return [] }
        guard case .object(let members) = value else { throw fields.wrong(name, "an object") }
        var settings: [NamedSetting] = []
        for member in members {
            let setting: TemplateSetting
            switch member.value {
            case .null: setting = .none
            case .bool(let value): setting = .boolean(value)
            case .number(_, let value?): setting = .integer(value)
            case .string(let value): setting = .text(value)
            default:
                let path = "\(name).\(member.name.prefix(40))"
                throw .badParameter(path, "'\(path)' must be a boolean, an integer, a string or null")
            }
            settings.append(NamedSetting(member.name, setting))
        }
        return settings
    }

    private static func content(_ message: RequestFields) throws(APIError) -> String {
        switch message["content"] {
        case .string(let text): return text
        case .array:
            var text = ""
            for part in try message.objects("content") ?? [] {
                let type = try part.string("type")
                guard type == "text" else {
                    throw .badParameter(
                        part.path("type"),
                        "'\(part.path("type"))' is '\(type ?? "missing")'; models here read text parts only")
                }
                guard let piece = try part.string("text") else { throw part.wrong("text", "a string") }
                text += piece
            }
            return text
        default: throw message.wrong("content", "a string or an array of parts")
        }
    }

    private static func refuseUnsupported(_ fields: RequestFields) throws(APIError) {
        try fields.refuse("tools", "models here call no tools") { $0 == .array([]) }
        try fields.refuse("functions", "models here call no tools") { $0 == .array([]) }
        try fields.refuse("tool_choice", "models here call no tools") { $0 == .string("none") || $0 == .string("auto") }
        try fields.refuse("function_call", "models here call no tools") {
            $0 == .string("none") || $0 == .string("auto")
        }
        try fields.refuse("response_format", "only the type 'text' is") { $0["type"] == .string("text") }
        try fields.refuse("modalities", "only text is") { $0 == .array([.string("text")]) }
        try fields.refuse("audio", "only text is")
        try fields.refuse("prediction", "output is not predicted by the client")
        try fields.refuse("web_search_options", "nothing is searched")
        try fields.refuse("reasoning_effort", "models here have no such setting") { $0 == .string("none") }
    }
}

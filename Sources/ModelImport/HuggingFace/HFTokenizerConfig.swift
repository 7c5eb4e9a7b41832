// tokenizer_config.json: the names of the begin and end tokens, and (in most models) the chat template,
// which newer ones keep in chat_template.jinja instead.

struct HFTokenizerConfig {
    private(set) var bosText: String?
    private(set) var eosText: String?
    /// nil when the file does not say.
    private(set) var addsBos: Bool?
    private(set) var chatTemplate: String?

    private static let longest = 16 << 20

    init() {}

    init(_ source: SourceFile) throws(ImportError) {
        var config = HFTokenizerConfig()
        var json = JSONReader(file: source.name, bytes: try source.contents(most: Self.longest))
        try json.document { json throws(ImportError) in
            try json.object { json, key throws(ImportError) in
                switch key {
                case "bos_token": config.bosText = try Self.token(&json)
                case "eos_token": config.eosText = try Self.token(&json)
                case "add_bos_token": config.addsBos = try json.optionalBool()
                case "chat_template": config.chatTemplate = try Self.template(&json)
                default: try json.skip()
                }
            }
        }
        self = config
    }

    /// A token is null, its text, or an object that holds its text.
    private static func token(_ json: inout JSONReader) throws(ImportError) -> String? {
        guard try json.kind() == .object else { return try json.optionalString() }
        var content: String?
        try json.object { json, key throws(ImportError) in
            if key == "content" { content = try json.string() } else { try json.skip() }
        }
        return content
    }

    /// A template is null, its text, or a list of named ones, of which `default` is meant.
    private static func template(_ json: inout JSONReader) throws(ImportError) -> String? {
        guard try json.kind() == .array else { return try json.optionalString() }
        var found: String?
        try json.array { json throws(ImportError) in
            var (name, text) = ("", "")
            try json.object { json, key throws(ImportError) in
                switch key {
                case "name": name = try json.string()
                case "template": text = try json.string()
                default: try json.skip()
                }
            }
            if name == "default" { found = text }
        }
        return found
    }
}

// Chat templates are Jinja. Locum knows the part of it that templates use to lay out turns; a template is
// compiled once, by `locum-import`, and what is stored in the router's shard is a checked program that can
// neither loop without end nor grow without bound. The router parses no Jinja.

/// A compiled chat template.
public struct Template {
    let program: Program

    /// Compiles the `chat_template` of a model, read as Hugging Face reads it (trim_blocks, lstrip_blocks).
    /// - Returns: the stored form.
    /// - Throws: `template_unsupported` or `template_syntax` with the line, `template_too_large`.
    public static func compile(source: String) throws(TemplateError) -> [UInt8] {
        guard source.utf8.count <= Program.maximumSource else {
            throw TemplateError(
                code: "template_too_large",
                message: "the chat template has \(source.utf8.count) bytes, more than the limit of "
                    + "\(Program.maximumSource); shorten the model's chat_template")
        }
        return try Compiler.program(of: TemplateLexer.tokens(of: source)).encoded
    }

    /// Opens what `compile` made. The bytes are copied.
    /// - Throws: `template_damaged`.
    public init(_ blob: UnsafeRawBufferPointer) throws(TemplateError) {
        try self.init(unsafe Array(blob))
    }

    /// Opens what `compile` made.
    /// - Throws: `template_damaged`.
    public init(_ blob: [UInt8]) throws(TemplateError) {
        program = try Program(decoding: blob)
    }

    /// Names whose values are not a caller's to choose.
    public static let ownNames: Set<String> = ["messages", "add_generation_prompt", "bos_token", "eos_token"]

    /// Lays out a conversation.
    ///
    /// What a template takes from a message, in whatever way, comes out marked as the user's. The one exception
    /// are the roles everybody uses: some templates build a special token around `message.role`.
    /// - Parameters:
    ///   - addGenerationPrompt: whether the prompt ends where the assistant's answer begins.
    ///   - bosToken: what `bos_token` stands for; undefined when nil. The same for `eosToken`.
    ///   - settings: what else the template may ask for by name, such as `enable_thinking`; of several of a name the last,
    ///     and none of `ownNames`.
    /// - Returns: the prompt in segments, neighbours of different origin.
    /// - Throws: `template_raised` with the template's own message, `template_failed`, `template_limit`.
    public func render(
        messages: [ChatMessage], addGenerationPrompt: Bool, bosToken: String? = nil, eosToken: String? = nil,
        settings: [(name: String, value: TemplateValue)] = [], limits: RenderLimits = RenderLimits()
    ) throws(TemplateError) -> [Segment] {
        var variables: [String: Value] = [:]
        for (name, value) in settings where !Self.ownNames.contains(name) { variables[name] = value.value }
        variables["messages"] = .list(messages.map(Value.message), depth: 1)
        variables["add_generation_prompt"] = .boolean(addGenerationPrompt)
        if let bosToken { variables["bos_token"] = .text(MarkedText(bosToken)) }
        if let eosToken { variables["eos_token"] = .text(MarkedText(eosToken)) }
        var machine = Machine(program: program, variables: variables, limits: limits)
        return try machine.run()
    }
}

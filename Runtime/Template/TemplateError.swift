// A chat template is a program by the model's makers. What it uses that Locum does not know is refused when
// the model is deployed, by line and by the construct's name; what goes wrong with a conversation is said
// when it is rendered, by line as well.

/// A template that cannot be compiled, or a conversation that it cannot render.
public struct TemplateError: Error, Sendable, CustomStringConvertible {
    /// A stable name of the kind of failure: `template_unsupported`, `template_syntax`, `template_too_large`
    /// (at deployment); `template_raised` (the template refused the conversation, `message` is its own words),
    /// `template_failed`, `template_limit`, `template_damaged` (at rendering).
    public let code: String
    /// What failed, on what, why, and what to do.
    public let message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code): \(message)" }

    static func unsupported(_ line: Int, _ what: String) -> TemplateError {
        TemplateError(
            code: "template_unsupported",
            message: "chat template, line \(line): \(what) is not supported; simplify the model's chat_template, "
                + "or remove it and use completions only")
    }

    static func syntax(_ line: Int, _ what: String) -> TemplateError {
        TemplateError(
            code: "template_syntax", message: "chat template, line \(line): \(what); correct the model's chat_template")
    }

    static func failed(_ line: Int, _ what: String) -> TemplateError {
        TemplateError(
            code: "template_failed",
            message: "chat template, line \(line): \(what); the template does not fit these messages")
    }

    static func limit(_ what: String) -> TemplateError {
        TemplateError(
            code: "template_limit", message: "chat template: \(what); send a shorter conversation")
    }

    static func damaged(_ what: String) -> TemplateError {
        TemplateError(
            code: "template_damaged",
            message: "compiled chat template: \(what); verify the router's shard, or deploy the model again")
    }
}

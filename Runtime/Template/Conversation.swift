// What goes into a template and what comes out. The output is cut by origin: text of the template may hold
// special tokens, text of messages may not, and only here is it known which is which.

/// One message of a conversation.
public struct ChatMessage: Sendable, Hashable {
    /// `system`, `user`, `assistant` or whatever the template knows.
    public var role: String
    /// UTF-8.
    public var content: [UInt8]

    public init(role: String, content: [UInt8]) {
        self.role = role
        self.content = content
    }

    public init(role: String, content: String) {
        self.init(role: role, content: Array(content.utf8))
    }
}

/// A plain value that a caller gives a template.
public enum TemplateValue: Sendable, Hashable {
    case none
    case boolean(Bool)
    case integer(Int)
    /// Where the template writes it, it is the user's text.
    case text(String)

    var value: Value {
        switch self {
        case .none: .none
        case .boolean(let value): .boolean(value)
        case .integer(let value): .integer(value)
        case .text(let text): .text(MarkedText(Array(text.utf8), isUserContent: true))
        }
    }
}

/// A stretch of a rendered prompt, not empty; neighbours differ in origin.
public struct Segment: Sendable, Hashable {
    /// UTF-8.
    public var text: [UInt8]
    /// Whether the text came out of a message. Special tokens must not be recognised in it.
    public var isUserContent: Bool

    public init(text: [UInt8], isUserContent: Bool) {
        self.text = text
        self.isUserContent = isUserContent
    }
}

/// How much a template may do for one conversation.
public struct RenderLimits: Sendable, Hashable {
    /// Instructions, and one more for each 256 bytes that an instruction touches.
    public var steps: Int
    /// Length of the output and of any text on the way to it.
    public var outputBytes: Int

    public init(steps: Int = 1_000_000, outputBytes: Int = 8 << 20) {
        self.steps = steps
        self.outputBytes = outputBytes
    }
}

// The values a template works with: Python's, as far as templates that are let in can make them.

/// The parts of `loop`.
enum LoopPart: String {
    case first, last, index, index0, length, revindex, revindex0
}

enum Value {
    /// The name is for messages.
    case undefined(name: String)
    case none
    case boolean(Bool)
    case integer(Int)
    case text(MarkedText)
    /// `depth`: lists within lists, 1 for one that holds none.
    case list([Value], depth: Int)
    case message(ChatMessage)
    case loop(index: Int, count: Int)
    /// By its number: its parts can be set, and all who hold it see that.
    case namespace(Int)

    /// What an `if` makes of it.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .boolean(let value): value
        case .integer(let value): value != 0
        case .text(let text): !text.bytes.isEmpty
        case .list(let items, _): !items.isEmpty
        case .message, .loop, .namespace: true
        }
    }

    /// How deep its lists are nested; 0 for other values.
    var depth: Int {
        if case .list(_, let depth) = self { depth } else { 0 }
    }

    /// The value as a number; Python counts booleans among them.
    var number: Int? {
        switch self {
        case .integer(let value): value
        case .boolean(let value): value ? 1 : 0
        default: nil
        }
    }

    /// What it is called in messages.
    var kind: String {
        switch self {
        case .undefined(let name): "'\(name)', which is undefined,"
        case .none: "none"
        case .boolean: "a boolean"
        case .integer: "a number"
        case .text: "a text"
        case .list: "a list"
        case .message: "a message"
        case .loop: "a loop"
        case .namespace: "a namespace"
        }
    }

    /// What `{{ }}` and `~` make of it; nil where that would print Python's view of a structure.
    var printed: MarkedText? {
        switch self {
        case .undefined: MarkedText()
        case .none: MarkedText("None")
        case .boolean(let value): MarkedText(value ? "True" : "False")
        case .integer(let value): MarkedText(String(value))
        case .text(let text): text
        case .list, .message, .loop, .namespace: nil
        }
    }

    /// A named part; undefined when there is none of that name.
    func part(_ name: String) -> Value {
        switch (self, name) {
        case (.message(let message), "role"):
            return .text(MarkedText(Array(message.role.utf8), isUserContent: !Self.plainRoles.contains(message.role)))
        case (.message(let message), "content"):
            return .text(MarkedText(message.content, isUserContent: true))
        case (.loop(let index, let count), _):
            switch LoopPart(rawValue: name) {
            case .first: return .boolean(index == 0)
            case .last: return .boolean(index == count - 1)
            case .index: return .integer(index + 1)
            case .index0: return .integer(index)
            case .length: return .integer(count)
            case .revindex: return .integer(count - index)
            case .revindex0: return .integer(count - index - 1)
            case nil: return .undefined(name: name)
            }
        default: return .undefined(name: name)
        }
    }

    /// Roles that count as the template's own words: a template may build `<|user|>` from one. Any other role
    /// was made up by a caller and is his text.
    private static let plainRoles: Set<String> = ["system", "developer", "user", "assistant", "tool", "function"]
}

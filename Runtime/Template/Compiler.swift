// From tokens to instructions in one pass: expressions become postfix code, statements jumps around it
// (`Compiler+Expressions.swift`, `Compiler+Statements.swift`). Nesting is bounded, since the compiler itself
// is recursive. What is not known is refused by name rather than skipped: a prompt that is laid out almost
// right makes a model answer almost sensibly, which nobody would trace back.

struct Compiler {
    private static let maximumDepth = 48

    private let tokens: [TemplateToken]
    private var index = 0
    private var depth = 0
    private var constantNumbers: [[UInt8]: Int32] = [:]
    var program = Program()

    static func program(of tokens: [TemplateToken]) throws(TemplateError) -> Program {
        var compiler = Compiler(tokens: tokens)
        try compiler.block(until: [])
        return compiler.program
    }

    private init(tokens: [TemplateToken]) { self.tokens = tokens }

    // The token stream. The last token is always `.end`, which is never passed.

    var token: TemplateToken { tokens[index] }
    var line: Int { token.line }

    /// The token after the current one.
    var following: TemplateToken { tokens[min(index + 1, tokens.count - 1)] }

    @discardableResult
    mutating func advance() -> TemplateToken {
        defer { index = min(index + 1, tokens.count - 1) }
        return token
    }

    /// Passes the token if it is this one.
    mutating func take(_ kind: TemplateToken.Kind) -> Bool {
        guard token.kind == kind else { return false }
        advance()
        return true
    }

    mutating func takeSymbol(_ symbol: String) -> Bool { take(.symbol(symbol)) }
    mutating func takeName(_ name: String) -> Bool { take(.name(name)) }

    mutating func expect(_ kind: TemplateToken.Kind) throws(TemplateError) {
        guard token.kind == kind else {
            let wanted = TemplateToken(kind: kind, line: line)
            throw .syntax(line, "\(wanted.quoted) expected, but there is \(token.quoted)")
        }
        advance()
    }

    mutating func expectName() throws(TemplateError) -> String {
        guard case .name(let name) = token.kind else {
            throw .syntax(line, "a name expected, but there is \(token.quoted)")
        }
        advance()
        return name
    }

    /// Runs the body one level deeper.
    mutating func nested(_ body: (inout Compiler) throws(TemplateError) -> Void) throws(TemplateError) {
        depth += 1
        guard depth <= Self.maximumDepth else {
            throw .unsupported(line, "nesting more than \(Self.maximumDepth) deep")
        }
        try body(&self)
        depth -= 1
    }

    // The code.

    /// Where the next instruction will stand.
    var here: Int { program.instructions.count }

    /// Appends an instruction and says where it stands.
    @discardableResult
    mutating func emit(_ operation: Instruction.Operation, _ operand: Int32 = 0, line: Int) -> Int {
        program.instructions.append(Instruction(operation: operation, line: UInt32(line), operand: operand))
        return here - 1
    }

    /// Makes the jump at `index` lead to `target`.
    mutating func setTarget(_ index: Int, _ target: Int) {
        program.instructions[index].operand = Int32(target - index - 1)
    }

    /// The number of a constant.
    mutating func constant(_ text: String) throws(TemplateError) -> Int32 {
        let bytes = Array(text.utf8)
        if let number = constantNumbers[bytes] { return number }
        let number = Int32(program.constants.count)
        guard number < Program.maximumConstants else { throw .unsupported(line, "so large a number of texts") }
        program.constants.append(bytes)
        constantNumbers[bytes] = number
        return number
    }
}

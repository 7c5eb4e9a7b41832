// Text, {{ output }}, and the statements: for, if, set.

extension Compiler {
    /// What Jinja and Hugging Face know beyond that, so that a refusal can name it.
    private static let otherStatements: Set<String> = [
        "macro", "call", "filter", "block", "extends", "include", "import", "from", "with", "autoescape", "raw", "do",
        "break", "continue", "generation", "trans", "debug",
    ]
    /// Words that are not names of variables.
    static let reserved: Set<String> = [
        "loop", "true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if", "else",
    ]

    /// Compiles up to one of the closing statements, whose name is passed, or to the end of the template.
    /// - Parameter opening: the line of the statement that is to be closed.
    /// - Returns: the name of the closing statement.
    @discardableResult
    mutating func block(until closing: Set<String>, opening: Int = 1) throws(TemplateError) -> String {
        while true {
            let start = line
            switch token.kind {
            case .end:
                if closing.isEmpty { return "" }
                let missing = closing.sorted().joined(separator: " or ")
                throw .syntax(opening, "the statement that begins here has no \(missing)")
            case .text(let text):
                advance()
                emit(.text, try constant(text), line: start)
            case .outputBegin:
                advance()
                try nested { (compiler) throws(TemplateError) in try compiler.expression() }
                try expect(.outputEnd)
                emit(.output, line: start)
            default:
                try expect(.statementBegin)
                let name = try expectName()
                if closing.contains(name) { return name }
                try nested { (compiler) throws(TemplateError) in try compiler.statement(name, start) }
            }
        }
    }

    private mutating func statement(_ name: String, _ start: Int) throws(TemplateError) {
        switch name {
        case "for": try loop(start)
        case "if": try condition(start)
        case "set": try assignment(start)
        case _ where Self.otherStatements.contains(name): throw .unsupported(start, name)
        case _ where name == "else" || name == "elif" || name.hasPrefix("end"):
            throw .syntax(start, "'\(name)' has nothing to belong to")
        default: throw .unsupported(start, "the statement '\(name)'")
        }
    }

    /// `{% if %} … {% elif %} … {% else %} … {% endif %}`, behind its `if`.
    private mutating func condition(_ start: Int) throws(TemplateError) {
        var exits: [Int] = []
        var closing = "elif"
        while closing == "elif" {
            let line = line
            try expression()
            try expect(.statementEnd)
            let skip = emit(.jumpIfFalse, line: line)
            closing = try block(until: ["elif", "else", "endif"], opening: start)
            if closing != "endif" { exits.append(emit(.jump, line: line)) }
            setTarget(skip, here)
        }
        if closing == "else" {
            try expect(.statementEnd)
            try block(until: ["endif"], opening: start)
        }
        try expect(.statementEnd)
        for exit in exits { setTarget(exit, here) }
    }

    /// `{% for x in y %} … {% else %} … {% endfor %}`, behind its `for`.
    private mutating func loop(_ start: Int) throws(TemplateError) {
        let name = try expectName()
        try checkAssignable(name, start)
        if token.kind == .symbol(",") { throw .unsupported(start, "a loop over several variables") }
        try expect(.name("in"))
        try disjunction()
        if token.kind == .name("if") { throw .unsupported(start, "a loop with a condition") }
        if token.kind == .name("recursive") { throw .unsupported(start, "a recursive loop") }
        try expect(.statementEnd)
        let begin = emit(.loopBegin, line: start)
        emit(.store, try constant(name), line: start)
        let closing = try block(until: ["else", "endfor"], opening: start)
        let next = emit(.loopNext, line: start)
        setTarget(next, begin + 1)
        if closing == "else" {
            try expect(.statementEnd)
            let exit = emit(.jump, line: start)
            setTarget(begin, here)
            try block(until: ["endfor"], opening: start)
            setTarget(exit, here)
        } else {
            setTarget(begin, here)
        }
        try expect(.statementEnd)
    }

    /// `{% set x = y %}`, behind its `set`.
    private mutating func assignment(_ start: Int) throws(TemplateError) {
        let name = try expectName()
        try checkAssignable(name, start)
        switch token.kind {
        case .symbol("."): return try partAssignment(name, start)
        case .symbol(","): throw .unsupported(start, "setting several variables at once")
        case .statementEnd, .symbol("|"): throw .unsupported(start, "a set block")
        default: break
        }
        try expect(.symbol("="))
        try expression()
        try expect(.statementEnd)
        emit(.store, try constant(name), line: start)
    }

    /// `{% set ns.x = y %}`, behind `ns`.
    private mutating func partAssignment(_ name: String, _ start: Int) throws(TemplateError) {
        advance()
        let part = try expectName()
        emit(.load, try constant(name), line: start)
        try expect(.symbol("="))
        try expression()
        try expect(.statementEnd)
        emit(.setPart, try constant(part), line: start)
        emit(.drop, line: start)
    }

    private func checkAssignable(_ name: String, _ line: Int) throws(TemplateError) {
        if Self.reserved.contains(name) { throw .syntax(line, "'\(name)' cannot be assigned to") }
    }
}

// Expressions, by Jinja's levels: `a if c else b`; or; and; not; comparisons; + and -; ~; * // %; a sign;
// then what follows a value: parts, filters, tests. Each level compiles its operands and appends its operation.

extension Compiler {
    private static let comparisons: [String: Instruction.Operation] = [
        "==": .equal, "!=": .notEqual, "<": .less, "<=": .lessOrEqual, ">": .greater, ">=": .greaterOrEqual,
    ]

    /// `a if c else b`; without `else` it is undefined when not `c`.
    mutating func expression() throws(TemplateError) {
        let start = here
        try disjunction()
        guard takeName("if") else { return }
        // The value stands before its condition: it is taken out and put in again behind it. Jumps are
        // distances, so code can be moved.
        let value = Array(program.instructions[start...])
        program.instructions.removeSubrange(start...)
        let line = line
        try disjunction()
        let skip = emit(.jumpIfFalse, line: line)
        program.instructions += value
        let exit = emit(.jump, line: line)
        setTarget(skip, here)
        if takeName("else") {
            try nested { (compiler) throws(TemplateError) in try compiler.expression() }
        } else {
            emit(.undefined, line: line)
        }
        setTarget(exit, here)
    }

    mutating func disjunction() throws(TemplateError) {
        try conjunction()
        while takeName("or") {
            let skip = emit(.jumpIfTrueElsePop, line: line)
            try conjunction()
            setTarget(skip, here)
        }
    }

    private mutating func conjunction() throws(TemplateError) {
        try negation()
        while takeName("and") {
            let skip = emit(.jumpIfFalseElsePop, line: line)
            try negation()
            setTarget(skip, here)
        }
    }

    private mutating func negation() throws(TemplateError) {
        let line = line
        guard takeName("not") else { return try comparison() }
        try nested { (compiler) throws(TemplateError) in try compiler.negation() }
        emit(.not, line: line)
    }

    private mutating func comparison() throws(TemplateError) {
        try sum()
        guard let operation = takeComparison() else { return }
        let line = line
        try sum()
        emit(operation, line: line)
        if takeComparison() != nil { throw .unsupported(line, "a chain of comparisons") }
    }

    private mutating func takeComparison() -> Instruction.Operation? {
        switch token.kind {
        case .symbol(let symbol):
            guard let operation = Self.comparisons[symbol] else { return nil }
            advance()
            return operation
        case .name("in"):
            advance()
            return .contains
        case .name("not") where following.kind == .name("in"):
            advance()
            advance()
            return .containsNot
        default: return nil
        }
    }

    private mutating func sum() throws(TemplateError) {
        try concatenation()
        while token.kind == .symbol("+") || token.kind == .symbol("-") {
            let operation = token.kind == .symbol("+") ? Instruction.Operation.add : .subtract
            let line = advance().line
            try concatenation()
            emit(operation, line: line)
        }
    }

    private mutating func concatenation() throws(TemplateError) {
        try product()
        while token.kind == .symbol("~") {
            let line = advance().line
            try product()
            emit(.join, line: line)
        }
    }

    private mutating func product() throws(TemplateError) {
        try signed()
        while case .symbol(let symbol) = token.kind {
            let operation: Instruction.Operation
            switch symbol {
            case "*": operation = .multiply
            case "//": operation = .divide
            case "%": operation = .remainder
            case "/", "**": throw .unsupported(line, "the operator \(symbol)")
            default: return
            }
            let line = advance().line
            try signed()
            emit(operation, line: line)
        }
    }

    /// A value with its parts, its sign, and then its filters and tests: `-x | f` is `(-x) | f`.
    private mutating func signed(filtered: Bool = true) throws(TemplateError) {
        let line = line
        if takeSymbol("-") {
            try nested { (compiler) throws(TemplateError) in try compiler.signed(filtered: false) }
            emit(.negate, line: line)
        } else if takeSymbol("+") {
            throw .unsupported(line, "a plus sign before a value")
        } else {
            try nested { (compiler) throws(TemplateError) in try compiler.primary() }
            try nested { (compiler) throws(TemplateError) in try compiler.parts() }
        }
        if filtered { try filtersAndTests() }
    }

    private mutating func primary() throws(TemplateError) {
        let line = line
        switch advance().kind {
        case .string(var text):
            while case .string(let more) = token.kind {
                text += more
                advance()
            }
            emit(.string, try constant(text), line: line)
        case .integer(let value): emit(.integer, value, line: line)
        case .name("true"), .name("True"): emit(.boolean, 1, line: line)
        case .name("false"), .name("False"): emit(.boolean, 0, line: line)
        case .name("none"), .name("None"): emit(.none, line: line)
        case .name("loop"): try loopPart(line)
        case .name(let name) where !Self.reserved.contains(name):
            if token.kind == .symbol("(") { return try call(name, line) }
            emit(.load, try constant(name), line: line)
        case .symbol("("):
            try expression()
            if token.kind == .symbol(",") { try list(line, closing: ")", count: 1) } else { try expect(.symbol(")")) }
        case .symbol("["): try list(line, closing: "]", count: 0)
        case .symbol("{"): throw .unsupported(line, "a dictionary")
        case let kind:
            throw .syntax(line, "a value expected, but there is \(TemplateToken(kind: kind, line: line).quoted)")
        }
    }

    /// The rest of `[a, b]` or of the tuple `(a, b)` behind `count` values. Templates only look into them, so
    /// they are the same.
    private mutating func list(_ line: Int, closing: String, count: Int32) throws(TemplateError) {
        var count = count
        while !takeSymbol(closing) {
            if count > 0 { try expect(.symbol(",")) }
            if count > 0, takeSymbol(closing) { break }
            try expression()
            count += 1
        }
        guard count <= Program.maximumList else { throw .unsupported(line, "a list of \(count) values") }
        emit(.list, count, line: line)
    }

    private mutating func loopPart(_ line: Int) throws(TemplateError) {
        guard takeSymbol(".") else { throw .unsupported(line, "'loop' without a part") }
        let part = try expectName()
        guard LoopPart(rawValue: part) != nil else { throw .unsupported(line, "loop.\(part)") }
        emit(.loadLoop, line: line)
        emit(.attribute, try constant(part), line: line)
    }

    /// The functions are `raise_exception(text)` and `namespace(name=value, …)`.
    private mutating func call(_ name: String, _ line: Int) throws(TemplateError) {
        guard name == "raise_exception" || name == "namespace" else {
            throw .unsupported(line, "the function \(name)()")
        }
        try expect(.symbol("("))
        guard name == "namespace" else {
            try expression()
            try expect(.symbol(")"))
            emit(.raise, line: line)
            return
        }
        emit(.namespace, line: line)
        var isFirst = true
        while !takeSymbol(")") {
            if !isFirst { try expect(.symbol(",")) }
            isFirst = false
            let part = try expectName()
            try expect(.symbol("="))
            try expression()
            emit(.setPart, try constant(part), line: line)
        }
    }

    /// `(…)` behind a value and the name of its method.
    private mutating func method(_ name: String, _ line: Int) throws(TemplateError) {
        guard let method = ValueMethod(rawValue: name) else { throw .unsupported(line, "the method \(name)()") }
        try expect(.symbol("("))
        let hasArgument = !takeSymbol(")")
        if hasArgument {
            try expression()
            if token.kind == .symbol(",") { throw .unsupported(line, "the method \(name)() with several arguments") }
            try expect(.symbol(")"))
        } else if !method.strips {
            throw .unsupported(line, "the method \(name)() without an argument")
        }
        emit(.method, 2 * method.operand + (hasArgument ? 1 : 0), line: line)
    }

    /// `.name`, `.method(x)`, `['name']`, `[1]`, `[1:]`, `[::-1]`.
    private mutating func parts() throws(TemplateError) {
        while true {
            let line = line
            switch token.kind {
            case .symbol("."):
                advance()
                let name = try expectName()
                if token.kind == .symbol("(") {
                    try method(name, line)
                } else {
                    emit(.attribute, try constant(name), line: line)
                }
            case .symbol("["):
                advance()
                try subscripted(line)
            case .symbol("("): throw .unsupported(line, "a call of a value")
            default: return
            }
        }
    }

    /// `| filter`, `is test`.
    private mutating func filtersAndTests() throws(TemplateError) {
        while true {
            let line = line
            switch token.kind {
            case .symbol("|"):
                advance()
                let name = try expectName()
                guard let filter = ValueFilter(rawValue: name) else { throw .unsupported(line, "the filter '\(name)'") }
                if token.kind == .symbol("(") { throw .unsupported(line, "the filter '\(name)' with arguments") }
                emit(.filter, filter.operand, line: line)
            case .name("is"):
                advance()
                let negated = takeName("not")
                let name = try expectName()
                guard let test = ValueTest(rawValue: name) else {
                    throw .unsupported(line, "the test 'is \(name)'")
                }
                emit(.test, test.operand, line: line)
                if negated { emit(.not, line: line) }
            default: return
            }
        }
    }

    /// Behind `[`.
    private mutating func subscripted(_ line: Int) throws(TemplateError) {
        var bounds: Int32 = 0
        if token.kind != .symbol(":") {
            try expression()
            if takeSymbol("]") {
                emit(.item, line: line)
                return
            }
            bounds = 1
        }
        try expect(.symbol(":"))
        if token.kind != .symbol("]"), token.kind != .symbol(":") {
            try expression()
            bounds |= 2
        }
        if takeSymbol(":"), token.kind != .symbol("]") {
            let turns = bounds == 0 && takeSymbol("-") && take(.integer(1))
            guard turns else { throw .unsupported(line, "a slice with a step other than [::-1]") }
            try expect(.symbol("]"))
            emit(.reverse, line: line)
            return
        }
        try expect(.symbol("]"))
        emit(.slice, bounds, line: line)
    }
}

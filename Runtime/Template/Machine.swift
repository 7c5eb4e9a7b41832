// Runs a compiled template. The state is a stack of values, a stack of loops with their variables, and the
// output. Every instruction costs a step and every byte it handles a part of one, so the time a conversation
// may take is known before it begins; lengths are bounded by the limit on the output.

struct Machine {
    private static let maximumStack = 4096
    private static let maximumLoops = 64
    private static let maximumItems = 1 << 20
    private static let maximumNamespaces = 64
    /// Lists within lists: values are let go of one level within the other, on the stack of the process.
    private static let maximumDepth = 16
    private static let bytesPerStep = 256

    private struct Loop {
        let items: [Value]
        var index: Int
        var variables: [String: Value]
    }

    private let program: Program
    private let names: [String]
    private var variables: [String: Value]
    private let limits: RenderLimits
    private var steps = 0
    private var stack: [Value] = []
    private var loops: [Loop] = []
    /// By number.
    private(set) var namespaces: [[String: Value]] = []
    private var output = MarkedText()
    /// Line of the instruction that runs.
    private(set) var line = 0

    init(program: Program, variables: [String: Value], limits: RenderLimits) {
        self.program = program
        names = program.constants.map { String(decoding: $0, as: UTF8.self) }
        self.variables = variables
        self.limits = limits
    }

    /// Runs the program to its end.
    mutating func run() throws(TemplateError) -> [Segment] {
        var index = 0
        while index < program.instructions.count {
            let instruction = program.instructions[index]
            line = Int(instruction.line)
            try charge(bytes: 0)
            index += 1
            if try step(instruction) { index += Int(instruction.operand) }
        }
        return output.segments
    }

    /// - Returns: whether to move by the operand.
    private mutating func step(_ instruction: Instruction) throws(TemplateError) -> Bool {
        let operand = Int(instruction.operand)
        switch instruction.operation {
        case .text: try write(MarkedText(program.constants[operand], isUserContent: false))
        case .output: try write(printed(try pop()))
        case .string: try push(.text(MarkedText(program.constants[operand], isUserContent: false)))
        case .integer: try push(.integer(operand))
        case .none: try push(.none)
        case .boolean: try push(.boolean(operand == 1))
        case .undefined: try push(.undefined(name: "the value without else"))
        case .load: try push(value(named: names[operand]))
        case .store: try store(names[operand], try pop())
        case .loadLoop:
            try push(loops.last.map { .loop(index: $0.index, count: $0.items.count) } ?? .undefined(name: "loop"))
        case .attribute: try push(part(of: try pop(), names[operand]))
        case .item:
            let key = try pop()
            try push(item(of: try pop(), key))
        case .slice:
            let upper = operand & 2 == 0 ? nil : try pop()
            let lower = operand & 1 == 0 ? nil : try pop()
            try push(slice(of: try pop(), lower, upper))
        case .list:
            guard stack.count >= operand else { throw .damaged("its stack is empty") }
            let items = Array(stack.suffix(operand))
            stack.removeLast(operand)
            let depth = 1 + (items.map(\.depth).max() ?? 0)
            guard depth <= Self.maximumDepth else { throw .limit("it nests lists more than \(Self.maximumDepth) deep") }
            try push(.list(items, depth: depth))
        case .negate: try push(negated(try pop()))
        case .not: try push(.boolean(!(try pop().isTrue)))
        case .jump: return true
        case .jumpIfFalse: return !(try pop().isTrue)
        case .jumpIfFalseElsePop: return try !keepsTop(if: false)
        case .jumpIfTrueElsePop: return try !keepsTop(if: true)
        case .loopBegin: return try !beginLoop(try pop())
        case .loopNext: return try nextItem()
        case .test: try push(.boolean(test(ValueTest.allCases[operand], try pop())))
        case .filter: try push(try filtered(ValueFilter.allCases[operand], try pop()))
        case .raise:
            let message = try printed(try pop())
            throw TemplateError(code: "template_raised", message: String(decoding: message.bytes, as: UTF8.self))
        case .namespace:
            guard namespaces.count < Self.maximumNamespaces else {
                throw .limit("it makes more than \(Self.maximumNamespaces) namespaces")
            }
            namespaces.append([:])
            try push(.namespace(namespaces.count - 1))
        case .setPart:
            let part = try pop()
            guard case .namespace(let number)? = stack.last else {
                throw .failed(line, "'\(names[operand])' can be set of a namespace only")
            }
            namespaces[number][names[operand]] = part
        case .drop: _ = try pop()
        case .method:
            let argument = operand & 1 == 0 ? nil : try pop()
            try push(called(ValueMethod.allCases[operand / 2], try pop(), argument))
        case .reverse: try push(reversed(try pop()))
        default:
            let right = try pop()
            try push(result(instruction.operation, try pop(), right))
        }
        return false
    }

    /// Whether the top of the stack went, because it is not as asked for.
    private mutating func keepsTop(if wanted: Bool) throws(TemplateError) -> Bool {
        let top = try pop()
        guard top.isTrue == wanted else { return true }
        try push(top)
        return false
    }

    // Steps, stack, output.

    /// Counts an instruction or the handling of bytes.
    mutating func charge(bytes: Int) throws(TemplateError) {
        steps += bytes == 0 ? 1 : bytes / Self.bytesPerStep
        if steps > limits.steps { throw .limit("it takes more than \(limits.steps) steps for this conversation") }
    }

    /// Refuses texts that are too long, before they are made.
    mutating func checkLength(_ bytes: Int) throws(TemplateError) {
        if bytes > limits.outputBytes { throw .limit("it makes a text longer than \(limits.outputBytes) bytes") }
    }

    /// Counts the making of a list and refuses one that is too long.
    mutating func chargeList(_ items: Int) throws(TemplateError) {
        if items > Self.maximumItems { throw .limit("it makes a list longer than \(Self.maximumItems) items") }
        try charge(bytes: 32 * items)
    }

    private mutating func push(_ value: Value) throws(TemplateError) {
        guard stack.count < Self.maximumStack else {
            throw .limit("it works with more than \(Self.maximumStack) values at once")
        }
        stack.append(value)
    }

    private mutating func pop() throws(TemplateError) -> Value {
        guard let value = stack.popLast() else { throw .damaged("its stack is empty") }
        return value
    }

    private mutating func write(_ text: MarkedText) throws(TemplateError) {
        try checkLength(output.bytes.count + text.bytes.count)
        try charge(bytes: text.cost)
        output.append(text)
    }

    // Variables and loops.

    /// A variable of the innermost loop that has it. What a loop's body sets ends with the turn of the loop.
    private func value(named name: String) -> Value {
        for loop in loops.reversed() {
            if let value = loop.variables[name] { return value }
        }
        return variables[name] ?? .undefined(name: name)
    }

    private mutating func store(_ name: String, _ value: Value) throws(TemplateError) {
        if loops.isEmpty {
            variables[name] = value
        } else {
            loops[loops.count - 1].variables[name] = value
        }
    }

    private mutating func beginLoop(_ value: Value) throws(TemplateError) -> Bool {
        let items: [Value]
        switch value {
        case .list(let list, _): items = list
        case .undefined: items = []
        default: throw .failed(line, "a loop over \(value.kind) is not possible")
        }
        guard let first = items.first else { return false }
        guard loops.count < Self.maximumLoops else { throw .limit("its loops are more than \(Self.maximumLoops) deep") }
        loops.append(Loop(items: items, index: 0, variables: [:]))
        try push(first)
        return true
    }

    private mutating func nextItem() throws(TemplateError) -> Bool {
        guard var loop = loops.popLast() else { throw .damaged("a loop ends that did not begin") }
        loop.index += 1
        guard loop.index < loop.items.count else { return false }
        loop.variables.removeAll(keepingCapacity: true)
        let item = loop.items[loop.index]
        loops.append(loop)
        try push(item)
        return true
    }
}

// The stored form of a compiled template, little endian:
//   "LOCUMTP1", words: version, constants c, instructions n
//   c × (word length, bytes)
//   n × (byte operation, three bytes line, word operand)
// Opening checks every constant, jump and operand, so the machine never meets an instruction it cannot do.

/// Instructions and their constants.
struct Program {
    static let magic: [UInt8] = Array("LOCUMTP1".utf8)
    static let version: UInt32 = 1
    static let maximumSource = 256 << 10
    static let maximumConstants = 1 << 16
    static let maximumInstructions = 1 << 20
    static let maximumList: Int32 = 256

    var constants: [[UInt8]] = []
    var instructions: [Instruction] = []

    /// The stored form.
    var encoded: [UInt8] {
        var out = Self.magic
        func append(_ word: UInt32) {
            for shift in stride(from: UInt32(0), to: 32, by: 8) { out.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        for word in [Self.version, UInt32(constants.count), UInt32(instructions.count)] { append(word) }
        for constant in constants {
            append(UInt32(constant.count))
            out += constant
        }
        for instruction in instructions {
            append(UInt32(instruction.operation.rawValue) | instruction.line << 8)
            append(UInt32(bitPattern: instruction.operand))
        }
        return out
    }

    init() {}

    /// - Throws: `template_damaged`.
    init(decoding bytes: [UInt8]) throws(TemplateError) {
        var position = Self.magic.count
        func word() throws(TemplateError) -> UInt32 {
            guard bytes.count - position >= 4 else { throw .damaged("it ends at byte \(bytes.count)") }
            defer { position += 4 }
            return (0..<4).reduce(0) { $0 | UInt32(bytes[position + $1]) << (8 * UInt32($1)) }
        }
        guard bytes.starts(with: Self.magic), try word() == Self.version else {
            throw .damaged("it does not begin as version \(Self.version) does")
        }
        let constantCount = Int(try word())
        let instructionCount = Int(try word())
        guard constantCount <= Self.maximumConstants, instructionCount <= Self.maximumInstructions else {
            throw .damaged("\(constantCount) constants and \(instructionCount) instructions are too many")
        }
        for _ in 0..<constantCount {
            let length = Int(try word())
            guard length <= bytes.count - position else { throw .damaged("a constant ends outside") }
            constants.append(Array(bytes[position..<position + length]))
            position += length
        }
        for index in 0..<instructionCount {
            let head = try word()
            let operand = Int32(bitPattern: try word())
            guard let operation = Instruction.Operation(rawValue: UInt8(head & 0xFF)) else {
                throw .damaged("instruction \(index) is unknown")
            }
            let instruction = Instruction(operation: operation, line: head >> 8, operand: operand)
            guard isSound(instruction, at: index, of: instructionCount) else {
                throw .damaged("instruction \(index) has the operand \(operand)")
            }
            instructions.append(instruction)
        }
        guard position == bytes.count else { throw .damaged("\(bytes.count - position) bytes are left over") }
    }

    private func isSound(_ instruction: Instruction, at index: Int, of count: Int) -> Bool {
        switch instruction.operation.operandKind {
        case .any: true
        case .constant: constants.indices.contains(Int(instruction.operand))
        case .distance: (0...count).contains(index + 1 + Int(instruction.operand))
        case .below(let limit): (0..<limit).contains(instruction.operand)
        }
    }
}

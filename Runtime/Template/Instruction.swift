// A compiled template is a program for a small stack machine: no recursion when it runs, every jump checked
// when it is opened, and a step counter that is just a count of instructions.

/// One instruction. `operand` means what the operation says.
struct Instruction: Equatable {
    var operation: Operation
    /// Line of the template, for messages.
    var line: UInt32
    var operand: Int32 = 0

    enum Operation: UInt8 {
        /// Appends constant `operand` to the output.
        case text = 1
        /// Pops a value and appends it to the output.
        case output
        /// Pushes constant `operand`, the number `operand`, none, false or true (`operand`), undefined.
        case string, integer, none, boolean, undefined
        /// Pushes the variable named by constant `operand`; pops into it; pushes `loop`.
        case load, store, loadLoop
        /// Pops a value and pushes its part named by constant `operand`.
        case attribute
        /// Pops a key and a value, pushes the part.
        case item
        /// Pops the bounds that `operand` says are there (1 lower, 2 upper) and a value, pushes the part.
        case slice
        /// Pops `operand` values, pushes the list of them.
        case list
        /// Pop two values, push the result.
        case add, subtract, multiply, divide, remainder, join
        case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual, contains, containsNot
        case negate, not
        /// Moves by `operand` instructions from the next one: always; if the popped value is false; if the top
        /// is false or true, which is popped if not.
        case jump, jumpIfFalse, jumpIfFalseElsePop, jumpIfTrueElsePop
        /// Pops a list and begins a loop: pushes the first item, or moves by `operand` if there is none.
        case loopBegin
        /// Pushes the next item and moves by `operand`, or ends the loop.
        case loopNext
        /// Pops a value, pushes what test or filter `operand` makes of it.
        case test, filter
        /// Pops a text and refuses the conversation with it.
        case raise
        /// Pushes a new namespace.
        case namespace
        /// Pops a value, which becomes the part of the namespace on top that constant `operand` names.
        case setPart
        /// Pops a value.
        case drop
        /// Pops the argument of method `operand` / 2, if `operand` is odd, and a value; pushes the result.
        case method
        /// Pops a list, pushes it the other way round.
        case reverse

        /// What an operand must be for the program to be sound.
        var operandKind: OperandKind {
            switch self {
            case .text, .string, .load, .store, .attribute, .setPart: .constant
            case .jump, .jumpIfFalse, .jumpIfFalseElsePop, .jumpIfTrueElsePop, .loopBegin, .loopNext: .distance
            case .test: .below(Int32(ValueTest.allCases.count))
            case .filter: .below(Int32(ValueFilter.allCases.count))
            case .method: .below(2 * Int32(ValueMethod.allCases.count))
            case .boolean: .below(2)
            case .slice: .below(4)
            case .list: .below(Program.maximumList + 1)
            case .integer: .any
            default: .below(1)
            }
        }
    }

    enum OperandKind {
        case constant, distance, any
        case below(Int32)
    }
}

/// `is …`. The order is that of the operands.
enum ValueTest: String, CaseIterable {
    case defined, undefined, none, string, `true`, `false`

    var operand: Int32 { Int32(Self.allCases.firstIndex(of: self) ?? 0) }
}

/// `| …`. The order is that of the operands.
enum ValueFilter: String, CaseIterable {
    case trim, length, count, upper, lower, tojson

    var operand: Int32 { Int32(Self.allCases.firstIndex(of: self) ?? 0) }
}

/// `.…()` of texts. The order is that of the operands.
enum ValueMethod: String, CaseIterable {
    case split, strip, lstrip, rstrip, startswith, endswith

    var operand: Int32 { Int32(Self.allCases.firstIndex(of: self) ?? 0) }
    /// Whether it takes characters off the ends: whitespace when it is not told which.
    var strips: Bool { [.strip, .lstrip, .rstrip].contains(self) }
}

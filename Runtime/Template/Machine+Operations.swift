// What operators, parts, tests and filters do with values, as Python and Jinja do it; where those would print
// or guess (the text of a list, a number added to a text), the conversation is refused with the line.

extension Machine {
    func printed(_ value: Value) throws(TemplateError) -> MarkedText {
        guard let text = value.printed else { throw .failed(line, "\(value.kind) has no text") }
        return text
    }

    func negated(_ value: Value) throws(TemplateError) -> Value {
        guard let number = value.number else { throw .failed(line, "\(value.kind) has no negative") }
        return try integer(0.subtractingReportingOverflow(number))
    }

    private func integer(_ result: (partialValue: Int, overflow: Bool)) throws(TemplateError) -> Value {
        if result.overflow { throw .failed(line, "a number is too large") }
        return .integer(result.partialValue)
    }

    /// The result of an operator with two sides.
    mutating func result(
        _ operation: Instruction.Operation, _ left: Value, _ right: Value
    ) throws(TemplateError) -> Value {
        switch operation {
        case .add: return try sum(left, right)
        case .join: return try joined(try printed(left), try printed(right))
        case .equal: return .boolean(try equal(left, right))
        case .notEqual: return .boolean(!(try equal(left, right)))
        case .contains: return .boolean(try contains(right, left))
        case .containsNot: return .boolean(!(try contains(right, left)))
        case .less: return .boolean(try order(left, right) < 0)
        case .lessOrEqual: return .boolean(try order(left, right) <= 0)
        case .greater: return .boolean(try order(left, right) > 0)
        case .greaterOrEqual: return .boolean(try order(left, right) >= 0)
        default: return try arithmetic(operation, left, right)
        }
    }

    private func arithmetic(
        _ operation: Instruction.Operation, _ left: Value, _ right: Value
    ) throws(TemplateError) -> Value {
        guard let a = left.number, let b = right.number else {
            throw .failed(line, "\(left.kind) and \(right.kind) cannot be calculated with")
        }
        switch operation {
        case .subtract: return try integer(a.subtractingReportingOverflow(b))
        case .multiply: return try integer(a.multipliedReportingOverflow(by: b))
        default:
            if b == 0 { throw .failed(line, "a division by zero") }
            // Python rounds down and gives the remainder the divisor's sign.
            let remainder = a.remainderReportingOverflow(dividingBy: b).partialValue
            let isUneven = remainder != 0 && (remainder < 0) != (b < 0)
            if operation == .remainder { return .integer(isUneven ? remainder + b : remainder) }
            let quotient = a.dividedReportingOverflow(by: b)
            return try integer((quotient.partialValue - (isUneven ? 1 : 0), quotient.overflow))
        }
    }

    private mutating func sum(_ left: Value, _ right: Value) throws(TemplateError) -> Value {
        switch (left, right) {
        case (.text(let a), .text(let b)): return try joined(a, b)
        case (.list(let a, let depthA), .list(let b, let depthB)):
            try chargeList(a.count + b.count)
            return .list(a + b, depth: max(depthA, depthB))
        default:
            guard let a = left.number, let b = right.number else {
                throw .failed(line, "\(left.kind) and \(right.kind) cannot be added")
            }
            return try integer(a.addingReportingOverflow(b))
        }
    }

    private mutating func joined(_ left: MarkedText, _ right: MarkedText) throws(TemplateError) -> Value {
        try checkLength(left.bytes.count + right.bytes.count)
        try charge(bytes: left.cost + right.cost)
        var text = left
        text.append(right)
        return .text(text)
    }

    private mutating func equal(_ left: Value, _ right: Value) throws(TemplateError) -> Bool {
        switch (left, right) {
        case (.none, .none), (.undefined, .undefined): return true
        case (.text(let a), .text(let b)):
            try charge(bytes: min(a.bytes.count, b.bytes.count))
            return a.bytes == b.bytes
        case (.message(let a), .message(let b)):
            try charge(bytes: a.content.count)
            return a == b
        case (.list, .list): throw .failed(line, "two lists cannot be compared")
        default:
            guard let a = left.number, let b = right.number else { return false }
            return a == b
        }
    }

    /// Negative, zero or positive.
    private mutating func order(_ left: Value, _ right: Value) throws(TemplateError) -> Int {
        if case .text(let a) = left, case .text(let b) = right {
            try charge(bytes: min(a.bytes.count, b.bytes.count))
            return a.bytes == b.bytes ? 0 : a.bytes.lexicographicallyPrecedes(b.bytes) ? -1 : 1
        }
        guard let a = left.number, let b = right.number else {
            throw .failed(line, "\(left.kind) and \(right.kind) have no order")
        }
        return a < b ? -1 : a > b ? 1 : 0
    }

    private mutating func contains(_ whole: Value, _ part: Value) throws(TemplateError) -> Bool {
        switch (whole, part) {
        case (.text(let whole), .text(let part)): return try contains(whole.bytes, part.bytes)
        case (.list(let items, _), _):
            for item in items {
                try charge(bytes: 0)
                if try equal(item, part) { return true }
            }
            return false
        case (.message, .text(let name)): return ["role", "content"].contains { $0.utf8.elementsEqual(name.bytes) }
        case (.undefined, _): return false
        default: throw .failed(line, "\(part.kind) cannot be looked for in \(whole.kind)")
        }
    }

    private mutating func contains(_ whole: [UInt8], _ part: [UInt8]) throws(TemplateError) -> Bool {
        try find(part, in: whole, from: 0) != nil
    }

    /// Where the part begins next in the text. Every comparison is charged, so that two texts made to take long
    /// (a thousand 'a' in a million) end at the limit.
    mutating func find(_ part: [UInt8], in whole: [UInt8], from begin: Int) throws(TemplateError) -> Int? {
        guard let first = part.first else { return begin }
        var start = begin
        var compared = 0
        while start + part.count <= whole.count {
            compared += 1
            if whole[start] == first {
                var length = 1
                while length < part.count, whole[start + length] == part[length] { length += 1 }
                if length == part.count { return start }
                compared += length
            }
            if compared >= 4096 {
                try charge(bytes: compared)
                compared = 0
            }
            start += 1
        }
        return nil
    }

    // Parts.

    func part(of value: Value, _ name: String) throws(TemplateError) -> Value {
        switch value {
        case .undefined: throw .failed(line, "\(value.kind) has no '\(name)'")
        case .namespace(let number): return namespaces[number][name] ?? .undefined(name: name)
        default: return value.part(name)
        }
    }

    func item(of value: Value, _ key: Value) throws(TemplateError) -> Value {
        switch (value, key) {
        case (.list(let items, _), .integer(let index)):
            let index = index < 0 ? items.count + index : index
            return items.indices.contains(index) ? items[index] : .undefined(name: "[\(index)]")
        case (_, .text(let name)): return try part(of: value, String(decoding: name.bytes, as: UTF8.self))
        default: throw .failed(line, "\(value.kind) has no part that \(key.kind) names")
        }
    }

    mutating func slice(of value: Value, _ lower: Value?, _ upper: Value?) throws(TemplateError) -> Value {
        guard case .list(let items, let depth) = value else {
            throw .failed(line, "a slice of \(value.kind) is not possible")
        }
        func bound(_ value: Value?, _ missing: Int) throws(TemplateError) -> Int {
            guard let value else { return missing }
            if case .none = value { return missing }
            guard let number = value.number else { throw .failed(line, "\(value.kind) is no bound of a slice") }
            return min(max(number < 0 ? items.count + number : number, 0), items.count)
        }
        let start = try bound(lower, 0)
        let end = try bound(upper, items.count)
        try chargeList(max(end - start, 0))
        return .list(start < end ? Array(items[start..<end]) : [], depth: depth)
    }

    mutating func reversed(_ value: Value) throws(TemplateError) -> Value {
        guard case .list(let items, let depth) = value else {
            throw .failed(line, "\(value.kind) cannot be turned round")
        }
        try chargeList(items.count)
        return .list(items.reversed(), depth: depth)
    }

    // Tests and filters.

    func test(_ test: ValueTest, _ value: Value) -> Bool {
        switch (test, value) {
        case (.undefined, .undefined), (.none, .none), (.string, .text): true
        case (.defined, .undefined): false
        case (.defined, _): true
        case (.true, .boolean(let value)): value
        case (.false, .boolean(let value)): !value
        default: false
        }
    }

    mutating func filtered(_ filter: ValueFilter, _ value: Value) throws(TemplateError) -> Value {
        switch filter {
        case .length, .count:
            switch value {
            case .list(let items, _): return .integer(items.count)
            case .text(let text):
                try charge(bytes: text.bytes.count)
                return .integer(String(decoding: text.bytes, as: UTF8.self).unicodeScalars.count)
            case .undefined: return .integer(0)
            default: throw .failed(line, "\(value.kind) has no length")
            }
        case .trim: return .text(try charged(try printed(value)).trimmed)
        case .upper: return try lengthChecked(try charged(try printed(value)).mapped { $0.uppercased() })
        case .lower: return try lengthChecked(try charged(try printed(value)).mapped { $0.lowercased() })
        case .tojson: return try lengthChecked(try json(value))
        }
    }

    /// Unicode work is slower than copying.
    mutating func charged(_ text: MarkedText) throws(TemplateError) -> MarkedText {
        try charge(bytes: 8 * text.cost)
        return text
    }

    private mutating func lengthChecked(_ text: MarkedText) throws(TemplateError) -> Value {
        try checkLength(text.bytes.count)
        return .text(text)
    }
}

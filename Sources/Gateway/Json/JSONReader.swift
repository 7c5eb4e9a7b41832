// Reads JSON (RFC 8259) strictly: no comments, no trailing commas, no lone surrogates, bounded depth. A mistake
// is reported with line and column, counted in bytes of UTF-8.

/// A text that is not JSON: what is wrong, and where.
struct JSONSyntaxError: Error, Equatable {
    let reason: String
    /// From 1.
    let line: Int
    /// From 1, in bytes.
    let column: Int
}

struct JSONReader {
    private static let deepest = 64
    private let bytes: [UInt8]
    private var at = 0
    private var depth = 0

    /// The value that the whole of `bytes` is.
    static func read(_ bytes: [UInt8]) throws(JSONSyntaxError) -> JSONValue {
        var reader = JSONReader(bytes: bytes)
        reader.skipBlanks()
        let value = try reader.value()
        reader.skipBlanks()
        guard reader.at == bytes.count else { throw reader.failure("something follows the value") }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func failure(_ reason: String) -> JSONSyntaxError {
        let before = bytes.prefix(at)
        let lineStart = (before.lastIndex(of: 0x0A) ?? -1) + 1
        return JSONSyntaxError(reason: reason, line: before.count { $0 == 0x0A } + 1, column: at - lineStart + 1)
    }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        at += 1
        return true
    }

    private mutating func value() throws(JSONSyntaxError) -> JSONValue {
        switch next {
        case UInt8(ascii: "{"): return try nested { reader throws(JSONSyntaxError) in try reader.object() }
        case UInt8(ascii: "["): return try nested { reader throws(JSONSyntaxError) in try reader.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"): return try number()
        case let byte? where (0x30...0x39).contains(byte): return try number()
        case nil: throw failure("the text ends where a value is expected")
        case let byte?: throw failure("a value is expected, not '\(printable(byte))'")
        }
    }

    private func printable(_ byte: UInt8) -> String {
        (0x20..<0x7F).contains(byte) ? String(UnicodeScalar(byte)) : "byte \(byte)"
    }

    private mutating func nested(
        _ body: (inout JSONReader) throws(JSONSyntaxError) -> JSONValue
    ) throws(JSONSyntaxError) -> JSONValue {
        guard depth < Self.deepest else { throw failure("nested deeper than \(Self.deepest) levels") }
        depth += 1
        at += 1
        defer { depth -= 1 }
        return try body(&self)
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(JSONSyntaxError) -> JSONValue {
        guard bytes[at...].starts(with: text.utf8) else {
            throw failure("a value is expected; \(text) is spelled otherwise")
        }
        at += text.utf8.count
        return value
    }

    private mutating func object() throws(JSONSyntaxError) -> JSONValue {
        var members: [JSONValue.Member] = []
        skipBlanks()
        if take(UInt8(ascii: "}")) { return .object([]) }
        while true {
            skipBlanks()
            guard next == UInt8(ascii: "\"") else { throw failure("a member's name in quotes is expected") }
            let name = try string()
            skipBlanks()
            guard take(UInt8(ascii: ":")) else { throw failure("':' is expected after the name \"\(name)\"") }
            skipBlanks()
            members.append(JSONValue.Member(name: name, value: try value()))
            skipBlanks()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw failure("',' or '}' is expected") }
        }
    }

    private mutating func array() throws(JSONSyntaxError) -> JSONValue {
        var values: [JSONValue] = []
        skipBlanks()
        if take(UInt8(ascii: "]")) { return .array([]) }
        while true {
            skipBlanks()
            values.append(try value())
            skipBlanks()
            if take(UInt8(ascii: "]")) { return .array(values) }
            guard take(UInt8(ascii: ",")) else { throw failure("',' or ']' is expected") }
        }
    }

    private mutating func number() throws(JSONSyntaxError) -> JSONValue {
        let start = at
        _ = take(UInt8(ascii: "-"))
        func isDigit(_ byte: UInt8?) -> Bool { byte.map { (0x30...0x39).contains($0) } ?? false }
        guard isDigit(next) else { throw failure("a digit is expected") }
        if !take(0x30) { while isDigit(next) { at += 1 } }
        var isInteger = true
        if take(UInt8(ascii: ".")) {
            isInteger = false
            guard isDigit(next) else { throw failure("a digit is expected after '.'") }
            while isDigit(next) { at += 1 }
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isInteger = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            guard isDigit(next) else { throw failure("a digit is expected in the exponent") }
            while isDigit(next) { at += 1 }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        guard let value = Double(text), value.isFinite else {
            throw failure("the number \(text.prefix(40)) is out of range")
        }
        return .number(value, integer: isInteger ? Int64(text) : nil)
    }

    private mutating func string() throws(JSONSyntaxError) -> String {
        at += 1
        var text: [UInt8] = []
        while true {
            guard let byte = next else { throw failure("the text ends within a string") }
            switch byte {
            case UInt8(ascii: "\""):
                guard let whole = String(validating: text, as: UTF8.self) else {
                    throw failure("the string before is not UTF-8")
                }
                at += 1
                return whole
            case UInt8(ascii: "\\"):
                at += 1
                text += try escape().utf8
            case 0..<0x20: throw failure("a control character (byte \(byte)) stands unescaped in a string")
            default:
                text.append(byte)
                at += 1
            }
        }
    }

    private mutating func escape() throws(JSONSyntaxError) -> String {
        guard let byte = next else { throw failure("the text ends within a string") }
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return String(UnicodeScalar(byte))
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try codeUnit()
            if let scalar = UnicodeScalar(unit) { return String(Character(scalar)) }
            guard (0xD800..<0xDC00).contains(unit), take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
                throw failure("half of a surrogate pair stands alone")
            }
            let low = try codeUnit()
            guard (0xDC00..<0xE000).contains(low),
                let scalar = UnicodeScalar(0x10000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(low) - 0xDC00))
            else { throw failure("half of a surrogate pair stands alone") }
            return String(Character(scalar))
        default: throw failure("'\\\(printable(byte))' is no escape")
        }
    }

    private mutating func codeUnit() throws(JSONSyntaxError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(UnicodeScalar(byte)).hexDigitValue, byte < 0x80 else {
                throw failure("four hexadecimal digits are expected after '\\u'")
            }
            unit = unit << 4 | UInt16(digit)
            at += 1
        }
        return unit
    }
}

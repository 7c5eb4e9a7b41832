// Names, numbers, strings and operators.

extension TemplateLexer {
    private static let pairs: Set<String> = ["==", "!=", "<=", ">=", "//", "**"]
    private static let singles = Set("+-*/%~<>=.,:|()[]{}".unicodeScalars)

    /// Appends the token that begins at `position`.
    mutating func token(startingWith first: Unicode.Scalar) throws(TemplateError) {
        switch first {
        case "'", "\"": try string(quote: first)
        case "0"..."9": try number()
        case "a"..."z", "A"..."Z", "_": name()
        default:
            if let second = peek(1), Self.pairs.contains("\(first)\(second)") {
                append(.symbol("\(first)\(second)"), at: position)
                position += 2
                return
            }
            if Self.singles.contains(first) {
                append(.symbol(String(first)), at: position)
                position += 1
                return
            }
            throw .syntax(lineNumber(at: position), "unexpected character '\(first)'")
        }
    }

    private mutating func name() {
        let start = position
        var name = String.UnicodeScalarView()
        while let next = peek(), next == "_" || next.properties.isAlphabetic || ("0"..."9").contains(next) {
            name.append(next)
            position += 1
        }
        append(.name(String(name)), at: start)
    }

    private mutating func number() throws(TemplateError) {
        let start = position
        var digits = ""
        while let next = peek(), ("0"..."9").contains(next) {
            digits.unicodeScalars.append(next)
            position += 1
        }
        let follows = peek()
        let isFloat = follows == "." && peek(1).map { ("0"..."9").contains($0) } == true
        if isFloat || follows == "_" || follows == "e" || follows == "E" || follows == "x" {
            throw .unsupported(lineNumber(at: start), "a number other than a plain integer")
        }
        guard let value = Int32(digits) else {
            throw .unsupported(lineNumber(at: start), "the large number \(digits.prefix(40))")
        }
        append(.integer(value), at: start)
    }

    private mutating func string(quote: Unicode.Scalar) throws(TemplateError) {
        let start = position
        position += 1
        var text = String.UnicodeScalarView()
        while let next = peek() {
            position += 1
            if next == quote {
                append(.string(String(text)), at: start)
                return
            }
            if next == "\\" { try escape(into: &text) } else { text.append(next) }
        }
        throw .syntax(lineNumber(at: start), "the string that begins here has no end")
    }

    /// What follows a backslash, as in Python's string literals.
    private mutating func escape(into text: inout String.UnicodeScalarView) throws(TemplateError) {
        let start = position
        guard let next = peek() else { return }
        position += 1
        switch next {
        case "n": text.append("\n")
        case "t": text.append("\t")
        case "r": text.append("\r")
        case "a": text.append("\u{07}")
        case "b": text.append("\u{08}")
        case "f": text.append("\u{0C}")
        case "v": text.append("\u{0B}")
        case "\\", "'", "\"": text.append(next)
        case "\n": break
        case "x": text.append(try codePoint(digits: 2, radix: 16, at: start))
        case "u": text.append(try codePoint(digits: 4, radix: 16, at: start))
        case "U": text.append(try codePoint(digits: 8, radix: 16, at: start))
        case "0"..."7":
            position -= 1
            var count = 1
            while count < 3, let digit = peek(count), ("0"..."7").contains(digit) { count += 1 }
            text.append(try codePoint(digits: count, radix: 8, at: start))
        case "N": throw .unsupported(lineNumber(at: start), "a character by name (\\N) in a string")
        default:
            text.append("\\")
            text.append(next)
        }
    }

    private mutating func codePoint(digits: Int, radix: Int, at start: Int) throws(TemplateError) -> Unicode.Scalar {
        var text = ""
        for _ in 0..<digits {
            if let digit = peek() { text.unicodeScalars.append(digit) }
            position += 1
        }
        position = min(position, source.count)
        guard !text.hasPrefix("+"), !text.hasPrefix("-"), let value = UInt32(text, radix: radix),
            text.unicodeScalars.count == digits, let scalar = Unicode.Scalar(value)
        else { throw .syntax(lineNumber(at: start), "'\\\(source[start])\(text)' is not a character") }
        return scalar
    }
}

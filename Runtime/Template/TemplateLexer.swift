// Cuts a template into tokens as Jinja does with the settings of Hugging Face: trim_blocks (the newline after
// a statement or comment goes), lstrip_blocks (blanks before one that begins its line go), and no newline at
// the very end. A minus at a delimiter takes all whitespace on that side, a plus keeps it.

struct TemplateLexer {
    let source: [Unicode.Scalar]
    var position = 0
    private(set) var tokens: [TemplateToken] = []
    private var line = 1
    /// `line` is the line of this position.
    private var lineCountedTo = 0

    /// - Parameter source: any text; its line ends become newlines.
    static func tokens(of source: String) throws(TemplateError) -> [TemplateToken] {
        var lexer = TemplateLexer(source)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ text: String) {
        var scalars: [Unicode.Scalar] = []
        for scalar in text.unicodeScalars {
            if scalar == "\n", scalars.last == "\r" { scalars.removeLast() }
            scalars.append(scalar)
        }
        scalars = scalars.map { $0 == "\r" ? "\n" : $0 }
        if scalars.last == "\n" { scalars.removeLast() }
        source = scalars
    }

    private mutating func run() throws(TemplateError) {
        while position < source.count {
            let begin = nextDelimiter()
            appendText(position..<begin)
            guard begin < source.count else { break }
            let kind = source[begin + 1]
            position = begin + 2
            if peek() == "-" || peek() == "+" { position += 1 }
            switch kind {
            case "#": try skipComment(from: begin)
            case "%": try expression(from: begin, .statementBegin, .statementEnd, close: "%")
            default: try expression(from: begin, .outputBegin, .outputEnd, close: "}")
            }
        }
        position = source.count
        append(.end, at: source.count)
    }

    func peek(_ offset: Int = 0) -> Unicode.Scalar? {
        position + offset < source.count ? source[position + offset] : nil
    }

    mutating func append(_ kind: TemplateToken.Kind, at start: Int) {
        tokens.append(TemplateToken(kind: kind, line: lineNumber(at: start)))
    }

    /// The line of a position. Positions are asked for mostly in order, so lines are counted from the last one.
    mutating func lineNumber(at position: Int) -> Int {
        if position < lineCountedTo { (line, lineCountedTo) = (1, 0) }
        while lineCountedTo < position {
            if source[lineCountedTo] == "\n" { line += 1 }
            lineCountedTo += 1
        }
        return line
    }

    /// Where the next `{{`, `{%` or `{#` begins, or the end.
    private func nextDelimiter() -> Int {
        var index = position
        while index + 1 < source.count {
            if source[index] == "{", ["{", "%", "#"].contains(source[index + 1]) { return index }
            index += 1
        }
        return source.count
    }

    /// Appends the text before a delimiter, without the whitespace that the delimiter takes.
    private mutating func appendText(_ range: Range<Int>) {
        var end = range.upperBound
        if end < source.count {
            let sign = end + 2 < source.count ? source[end + 2] : " "
            if sign == "-" {
                while end > range.lowerBound, MarkedText.isSpace(source[end - 1]) { end -= 1 }
            } else if sign != "+", source[end + 1] != "{" {
                var start = end
                while start > range.lowerBound, source[start - 1] != "\n", MarkedText.isSpace(source[start - 1]) {
                    start -= 1
                }
                if start == 0 || source[start - 1] == "\n" { end = start }
            }
        }
        guard range.lowerBound < end else { return }
        var text = String.UnicodeScalarView()
        text.append(contentsOf: source[range.lowerBound..<end])
        append(.text(String(text)), at: range.lowerBound)
    }

    /// Moves behind a closing delimiter of which only the last two characters are certain.
    private mutating func close(minus: Bool, plus: Bool, trimsNewline: Bool) {
        if minus {
            while let next = peek(), MarkedText.isSpace(next) { position += 1 }
        } else if trimsNewline, !plus, peek() == "\n" {
            position += 1
        }
    }

    private mutating func skipComment(from begin: Int) throws(TemplateError) {
        let start = position
        while position + 1 < source.count {
            if source[position] == "#", source[position + 1] == "}" {
                let sign = position > start ? source[position - 1] : " "
                position += 2
                close(minus: sign == "-", plus: sign == "+", trimsNewline: true)
                return
            }
            position += 1
        }
        throw .syntax(lineNumber(at: begin), "the comment that begins here has no end")
    }

    /// The tokens between two delimiters, both included.
    private mutating func expression(
        from begin: Int, _ first: TemplateToken.Kind, _ last: TemplateToken.Kind, close closing: Unicode.Scalar
    ) throws(TemplateError) {
        append(first, at: begin)
        var depth = 0
        while let next = peek() {
            if depth == 0 {
                let sign: Unicode.Scalar? = next == "-" || (next == "+" && closing == "%") ? next : nil
                let offset = sign == nil ? 0 : 1
                if peek(offset) == closing, peek(offset + 1) == "}" {
                    append(last, at: position)
                    position += offset + 2
                    close(minus: sign == "-", plus: sign == "+", trimsNewline: closing == "%")
                    return
                }
            }
            if MarkedText.isSpace(next) {
                position += 1
                continue
            }
            try token(startingWith: next)
            if case .symbol(let symbol) = tokens.last?.kind {
                if ["(", "[", "{"].contains(symbol) { depth += 1 }
                if [")", "]", "}"].contains(symbol) { depth -= 1 }
            }
        }
        throw .syntax(
            lineNumber(at: begin), "the \(first == .outputBegin ? "'{{'" : "'{%'") that begins here has no end")
    }
}

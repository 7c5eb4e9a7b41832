// Methods of texts, and the JSON of simple values. What people wrote stays marked in all that is made of it.

extension Machine {
    /// - Parameter argument: nil when there is none.
    mutating func called(_ method: ValueMethod, _ value: Value, _ argument: Value?) throws(TemplateError) -> Value {
        guard case .text(let text) = value else { throw .failed(line, "\(value.kind) has no method \(method)()") }
        if method.strips {
            let named = try characters(argument ?? .none)
            return .text(try stripped(method, text, named))
        }
        guard case .text(let other)? = argument else {
            throw .failed(line, "\(argument?.kind ?? "nothing") is no argument of \(method)()")
        }
        try charge(bytes: min(text.bytes.count, other.bytes.count))
        switch method {
        case .startswith: return .boolean(text.bytes.starts(with: other.bytes))
        case .endswith: return .boolean(text.bytes.reversed().starts(with: other.bytes.reversed()))
        default: return try split(text, by: other.bytes)
        }
    }

    private mutating func split(_ text: MarkedText, by separator: [UInt8]) throws(TemplateError) -> Value {
        guard !separator.isEmpty else { throw .failed(line, "an empty text separates nothing") }
        var parts: [Value] = []
        var start = 0
        while let end = try find(separator, in: text.bytes, from: start) {
            try charge(bytes: text.cost)
            parts.append(.text(text[start..<end]))
            start = end + separator.count
        }
        try charge(bytes: text.cost)
        parts.append(.text(text[start..<text.bytes.count]))
        try chargeList(parts.count)
        return .list(parts, depth: 1)
    }

    private mutating func characters(_ value: Value) throws(TemplateError) -> Set<Unicode.Scalar>? {
        if case .none = value { return nil }
        guard case .text(let text) = value else { throw .failed(line, "\(value.kind) names no characters") }
        try charge(bytes: 8 * text.cost)
        return Set(String(decoding: text.bytes, as: UTF8.self).unicodeScalars)
    }

    private mutating func stripped(
        _ method: ValueMethod, _ text: MarkedText, _ characters: Set<Unicode.Scalar>?
    ) throws(TemplateError) -> MarkedText {
        let text = try charged(text)
        return text.stripped(left: method != .rstrip, right: method != .lstrip) {
            characters?.contains($0) ?? MarkedText.isSpace($0)
        }
    }

    /// As Python's `json.dumps` with `ensure_ascii=False` writes it.
    mutating func json(_ value: Value) throws(TemplateError) -> MarkedText {
        switch value {
        case .none: return MarkedText("null")
        case .boolean(let value): return MarkedText(value ? "true" : "false")
        case .integer(let value): return MarkedText(String(value))
        case .text(let text):
            var json = MarkedText("\"")
            json.append(try charged(text).mapped(Self.escaped))
            json.append(MarkedText("\""))
            return json
        default: throw .failed(line, "\(value.kind) cannot be written as JSON")
        }
    }

    private static func escaped(_ text: String) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out.append(contentsOf: "\\\"".unicodeScalars)
            case "\\": out.append(contentsOf: "\\\\".unicodeScalars)
            case "\n": out.append(contentsOf: "\\n".unicodeScalars)
            case "\r": out.append(contentsOf: "\\r".unicodeScalars)
            case "\t": out.append(contentsOf: "\\t".unicodeScalars)
            case "\u{08}": out.append(contentsOf: "\\b".unicodeScalars)
            case "\u{0C}": out.append(contentsOf: "\\f".unicodeScalars)
            case "\u{00}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                out.append(
                    contentsOf: "\\u\(String(repeating: "0", count: 4 - digits.utf8.count))\(digits)".unicodeScalars)
            default: out.append(scalar)
            }
        }
        return String(out)
    }
}

// Strings and numbers of the JSON grammar (RFC 8259), to the letter.

extension JSONReader {
    mutating func string() throws(ImportError) -> String {
        try expect(.string)
        at += 1
        let start = at
        while at < bytes.count, bytes[at] >= 0x20, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\") {
            at += 1
        }
        if at < bytes.count, bytes[at] == UInt8(ascii: "\"") {
            defer { at += 1 }
            return try text(bytes[start..<at])
        }
        var unescaped = Array(bytes[start..<at])
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return try text(unescaped[...])
            case UInt8(ascii: "\\"): unescaped.append(contentsOf: String(try escape()).utf8)
            case ..<0x20: throw broken("a control character stands in a string")
            default: unescaped.append(byte)
            }
        }
        throw broken("a string does not end")
    }

    private func text(_ utf8: ArraySlice<UInt8>) throws(ImportError) -> String {
        guard let text = String(validating: utf8, as: UTF8.self) else { throw broken("a string is not UTF-8") }
        return text
    }

    private mutating func escape() throws(ImportError) -> Unicode.Scalar {
        guard at < bytes.count else { throw broken("a string does not end") }
        let byte = bytes[at]
        at += 1
        switch byte {
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "u"): return try escapedScalar()
        default: throw broken("unknown escape in a string")
        }
    }

    /// What follows `\u`; a pair of surrogates is one scalar.
    private mutating func escapedScalar() throws(ImportError) -> Unicode.Scalar {
        let first = try hexadecimal()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard (0xD800..<0xDC00).contains(first), bytes[at...].starts(with: Array("\\u".utf8)) else {
            throw broken("half a surrogate pair stands in a string")
        }
        at += 2
        let second = try hexadecimal()
        guard (0xDC00..<0xE000).contains(second),
            let scalar = Unicode.Scalar(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
        else {
            throw broken("half a surrogate pair stands in a string")
        }
        return scalar
    }

    private mutating func hexadecimal() throws(ImportError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard at < bytes.count, let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue else {
                throw broken("four hexadecimal digits must follow \\u")
            }
            value = value << 4 | UInt32(digit)
            at += 1
        }
        return value
    }

    /// A whole number.
    mutating func int() throws(ImportError) -> Int {
        try expect(.number)
        let start = at
        let text = try numberText()
        guard let value = Int(text) else {
            at = start
            throw wrong("a whole number of at most 64 bits", text.count > 40 ? "a longer number" : text)
        }
        return value
    }

    /// A finite number.
    mutating func double() throws(ImportError) -> Double {
        try expect(.number)
        let start = at
        let text = try numberText()
        guard let value = Double(text), value.isFinite else {
            at = start
            throw wrong("a finite number", text.count > 40 ? "a longer number" : text)
        }
        return value
    }

    /// Steps over a number and gives its text.
    mutating func numberText() throws(ImportError) -> String {
        let start = at
        func digits() -> Int {
            var end = at
            while end < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[end]) { end += 1 }
            return end - at
        }
        func next(_ characters: String) -> Bool { at < bytes.count && characters.utf8.contains(bytes[at]) }
        if next("-") { at += 1 }
        let whole = digits()
        guard whole > 0, whole == 1 || bytes[at] != UInt8(ascii: "0") else { throw broken("malformed number") }
        at += whole
        if next(".") {
            at += 1
            let fraction = digits()
            guard fraction > 0 else { throw broken("malformed number") }
            at += fraction
        }
        if next("eE") {
            at += 1
            if next("+-") { at += 1 }
            let exponent = digits()
            guard exponent > 0 else { throw broken("malformed number") }
            at += exponent
        }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }
}

// The Qwen2 expression as a scanner, one branch after the other in the expression's own order:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]*
//   | \s*[\r\n]+ | \s+(?!\S) | \s+
// It never looks back before the word it is in, and every byte is looked at a bounded number of times, so
// the time is linear. It reads valid UTF-8 only: the caller has repaired the text.

/// What the expression distinguishes.
private enum CharacterKind {
    case letter, number, newline, blank, other

    /// - Parameter scalar: any scalar; `blank` is `\s` without CR and LF.
    init(_ scalar: UInt32) {
        if scalar < 0x80 {
            switch scalar {
            case 0x61...0x7A, 0x41...0x5A: self = .letter
            case 0x30...0x39: self = .number
            case 0x0A, 0x0D: self = .newline
            case 0x20, 0x09, 0x0B, 0x0C: self = .blank
            default: self = .other
            }
            return
        }
        guard let properties = Unicode.Scalar(scalar)?.properties else {
            self = .other
            return
        }
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
        case .decimalNumber, .letterNumber, .otherNumber: self = .number
        default: self = properties.isWhitespace ? .blank : .other
        }
    }
}

extension PreTokenizer {
    /// Where the word that begins at `start` ends: `start < result <= end`.
    /// - Parameter text: valid UTF-8 in `start..<end`, which must not be empty.
    func wordEnd(in text: [UInt8], from start: Int, to end: Int) -> Int {
        switch self {
        case .qwen2: QwenScanner(text: text, end: end).wordEnd(from: start)
        }
    }
}

private struct QwenScanner {
    let text: [UInt8]
    let end: Int

    func wordEnd(from start: Int) -> Int {
        if let contraction = contractionEnd(from: start) { return contraction }
        let (kind, next) = character(at: start)
        switch kind {
        case .letter:
            return run(from: next) { $0 == .letter }
        case .number:
            return next
        case .blank, .other:
            // [^\r\n\p{L}\p{N}]?\p{L}+: one leading character may be anything but a newline or a number.
            if next < end, character(at: next).kind == .letter { return run(from: next) { $0 == .letter } }
            if kind == .other { return punctuationEnd(from: next) }
            if text[start] == 0x20, next < end, character(at: next).kind == .other {
                return punctuationEnd(from: next)
            }
            return whitespaceEnd(from: start)
        case .newline:
            return whitespaceEnd(from: start)
        }
    }

    /// The rest of `[^\s\p{L}\p{N}]+[\r\n]*` after its first character.
    private func punctuationEnd(from start: Int) -> Int {
        run(from: run(from: start) { $0 == .other }) { $0 == .newline }
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last newline of the run; else all of it at the end of the text;
    /// else all but the last blank, which belongs to the word after it.
    private func whitespaceEnd(from start: Int) -> Int {
        var position = start
        var last = start
        var afterNewline: Int?
        while position < end {
            let (kind, next) = character(at: position)
            guard kind == .blank || kind == .newline else { break }
            last = position
            position = next
            if kind == .newline { afterNewline = next }
        }
        if let afterNewline { return afterNewline }
        return position == end || last == start ? position : last
    }

    /// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` without regard to case; ſ folds to s.
    private func contractionEnd(from start: Int) -> Int? {
        guard text[start] == 0x27, start + 1 < end else { return nil }
        let first = text[start + 1] | 0x20
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
            return text[start + 1] < 0x80 ? start + 2 : nil
        default: break
        }
        guard start + 2 < end else { return nil }
        if text[start + 1] == 0xC5, text[start + 2] == 0xBF { return start + 3 }
        let second = text[start + 2] | 0x20
        switch (first, second) {
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        default: return nil
        }
    }

    private func run(from start: Int, while matches: (CharacterKind) -> Bool) -> Int {
        var position = start
        while position < end {
            let (kind, next) = character(at: position)
            guard matches(kind) else { break }
            position = next
        }
        return position
    }

    /// The kind of the character at `position`, and where the next one begins.
    private func character(at position: Int) -> (kind: CharacterKind, next: Int) {
        let first = text[position]
        if first < 0x80 { return (CharacterKind(UInt32(first)), position + 1) }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
        var scalar = UInt32(first) & (length == 4 ? 0x07 : length == 3 ? 0x0F : 0x1F)
        for offset in 1..<length { scalar = scalar << 6 | UInt32(text[position + offset] & 0x3F) }
        return (CharacterKind(scalar), position + length)
    }
}

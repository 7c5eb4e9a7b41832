// The Qwen2 expression as a scanner, one branch after the other in the expression's own order:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]*
//   | \s*[\r\n]+ | \s+(?!\S) | \s+

extension WordScanner {
    func qwen2WordEnd(from start: Int) -> Int {
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
}

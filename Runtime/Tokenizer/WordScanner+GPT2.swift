// GPT-2's expression as a scanner, one branch after the other in the expression's own order:
//   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+

extension WordScanner {
    func gpt2WordEnd(from start: Int) -> Int {
        if let contraction = lowercaseContractionEnd(from: start) { return contraction }
        var (kind, next) = character(at: start)
        if text[start] == 0x20, next < end {
            let following = character(at: next)
            if !following.kind.isWhitespace { (kind, next) = following }
        }
        if kind.isWhitespace { return blanksEnd(from: start) }
        return run(from: next) { $0 == kind }
    }

    /// `\s+(?!\S)|\s+`: all blanks at the end of the text, else all but the last, but one at least.
    private func blanksEnd(from start: Int) -> Int {
        var (position, last) = (start, start)
        while position < end {
            let (kind, next) = character(at: position)
            guard kind.isWhitespace else { return last == start ? position : last }
            (last, position) = (position, next)
        }
        return position
    }

    private func lowercaseContractionEnd(from start: Int) -> Int? {
        guard text[start] == 0x27, start + 1 < end else { return nil }
        let first = text[start + 1]
        if [UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d")].contains(first) {
            return start + 2
        }
        guard start + 2 < end else { return nil }
        switch (first, text[start + 2]) {
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        default: return nil
        }
    }
}

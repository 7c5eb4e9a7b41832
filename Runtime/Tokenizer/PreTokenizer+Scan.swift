// What the scanners of the known expressions share. A scanner never looks back before the word it is in, and every byte
// is looked at a bounded number of times, so the time is linear. It reads valid UTF-8 only: the caller has repaired the
// text.

/// What the expressions distinguish.
enum CharacterKind {
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

    /// `\s`.
    var isWhitespace: Bool { self == .blank || self == .newline }
}

extension PreTokenizer {
    /// Where the word that begins at `start` ends: `start < result <= end`.
    /// - Parameter text: valid UTF-8 in `start..<end`, which must not be empty.
    func wordEnd(in text: [UInt8], from start: Int, to end: Int) -> Int {
        switch self {
        case .qwen2: WordScanner(text: text, end: end).qwen2WordEnd(from: start)
        case .gpt2: WordScanner(text: text, end: end).gpt2WordEnd(from: start)
        case .metaspace: end
        }
    }
}

/// A look at the words of a text.
struct WordScanner {
    let text: [UInt8]
    let end: Int

    /// Where the characters of some kinds end that begin at `start`.
    func run(from start: Int, while matches: (CharacterKind) -> Bool) -> Int {
        var position = start
        while position < end {
            let (kind, next) = character(at: position)
            guard matches(kind) else { break }
            position = next
        }
        return position
    }

    /// The kind of the character at `position`, and where the next one begins.
    func character(at position: Int) -> (kind: CharacterKind, next: Int) {
        let first = text[position]
        if first < 0x80 { return (CharacterKind(UInt32(first)), position + 1) }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
        var scalar = UInt32(first) & (length == 4 ? 0x07 : length == 3 ? 0x0F : 0x1F)
        for offset in 1..<length { scalar = scalar << 6 | UInt32(text[position + offset] & 0x3F) }
        return (CharacterKind(scalar), position + length)
    }
}

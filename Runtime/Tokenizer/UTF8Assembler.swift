// Tokens of bytes, and of a byte-level vocabulary, end in the middle of characters, so an answer's bytes are held back
// until a character is whole. What can never become one turns into U+FFFD as soon as that is certain, one for each
// maximal part of a sequence: the practice of WHATWG, of Python's errors="replace" and of Swift's String. The blank that
// SentencePiece puts before every text goes again when a text is put together.

/// Turns bytes that arrive in pieces into valid UTF-8 that leaves in pieces.
public struct UTF8Assembler: Sendable {
    /// The beginning of a character not whole yet: at most 3 bytes.
    private var pending: [UInt8] = []
    /// How many bytes that character still needs; 0 when `pending` is empty.
    private var needed = 0
    /// What the next byte may be.
    private var allowed: ClosedRange<UInt8> = 0x80...0xBF
    /// Whether the next byte is left out if it is a blank.
    private var dropsBlank: Bool

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    /// - Parameter dropsFirstBlank: whether a blank at the text's beginning is left out.
    public init(dropsFirstBlank: Bool = false) { dropsBlank = dropsFirstBlank }

    /// Whether bytes wait for the rest of their character.
    public var isHoldingBack: Bool { needed > 0 }

    /// Takes the next bytes.
    /// - Returns: what is certain now, always valid UTF-8 that ends with a whole character.
    public mutating func push(_ bytes: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count + 3)
        for byte in bytes {
            if dropsBlank {
                dropsBlank = false
                if byte == 0x20 { continue }
            }
            if needed > 0 {
                if allowed.contains(byte) {
                    pending.append(byte)
                    needed -= 1
                    allowed = 0x80...0xBF
                    if needed == 0 { release(into: &out) }
                    continue
                }
                out += Self.replacement
                reset()
            }
            begin(byte, &out)
        }
        return out
    }

    /// Ends the text.
    /// - Returns: U+FFFD if a character was left unfinished, else nothing. What is pushed then goes on behind it.
    public mutating func finish() -> [UInt8] {
        defer { reset() }
        return needed > 0 ? Self.replacement : []
    }

    /// The whole of a text made valid.
    public static func repaired(_ bytes: [UInt8]) -> [UInt8] {
        var assembler = UTF8Assembler()
        return assembler.push(bytes) + assembler.finish()
    }

    private mutating func begin(_ byte: UInt8, _ out: inout [UInt8]) {
        switch byte {
        case 0x00...0x7F:
            out.append(byte)
            return
        case 0xC2...0xDF: needed = 1
        case 0xE0...0xEF:
            needed = 2
            // No overlong forms, no surrogates.
            if byte == 0xE0 { allowed = 0xA0...0xBF }
            if byte == 0xED { allowed = 0x80...0x9F }
        case 0xF0...0xF4:
            needed = 3
            // No overlong forms, nothing past U+10FFFF.
            if byte == 0xF0 { allowed = 0x90...0xBF }
            if byte == 0xF4 { allowed = 0x80...0x8F }
        default:
            out += Self.replacement
            return
        }
        pending.append(byte)
    }

    private mutating func release(into out: inout [UInt8]) {
        out += pending
        pending.removeAll(keepingCapacity: true)
    }

    private mutating func reset() {
        pending.removeAll(keepingCapacity: true)
        needed = 0
        allowed = 0x80...0xBF
    }
}

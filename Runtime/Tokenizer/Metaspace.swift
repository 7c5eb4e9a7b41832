// How SentencePiece vocabularies are written: "▁" for a blank, and "<0x41>" for a byte that a character without a token of
// its own is made of. The tables hold the text itself, so decoding never meets either.

/// The written form of SentencePiece tokens.
enum Metaspace {
    static let mark: Unicode.Scalar = "\u{2581}"

    /// What a vocabulary string stands for.
    static func bytes(of string: String) -> [UInt8] {
        if let byte = byte(named: string) { return [byte] }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(string.utf8.count)
        for scalar in string.unicodeScalars {
            if scalar == mark {
                bytes.append(0x20)
            } else {
                bytes += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
            }
        }
        return bytes
    }

    /// The written form of a byte.
    static func name(of byte: UInt8) -> [UInt8] {
        let digits = String(byte, radix: 16, uppercase: true)
        return Array("<0x\(digits.utf8.count == 1 ? "0" : "")\(digits)>".utf8)
    }

    /// The byte that the string is the written form of.
    static func byte(named string: String) -> UInt8? {
        guard string.utf8.count == 6, string.hasPrefix("<0x"),
            let byte = UInt8(string.dropFirst(3).dropLast(), radix: 16),
            name(of: byte).elementsEqual(string.utf8)
        else { return nil }
        return byte
    }
}

// Byte-level vocabularies are written with one printable character per byte: printable ASCII and most of
// Latin-1 stand for themselves, the other 68 bytes take U+0100 and up, in order (GPT-2's `bytes_to_unicode`).
// The tables hold the bytes themselves, so the router never meets this alphabet.

/// The alphabet, both ways.
public enum ByteAlphabet {
    /// Whether the byte stands for itself.
    private static func isPrintable(_ byte: UInt8) -> Bool {
        (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
    }

    /// The bytes that do not stand for themselves, in the order of U+0100, U+0101, ….
    private static let displaced: [UInt8] = (UInt8.min...UInt8.max).filter { !isPrintable($0) }

    /// The character of each byte, in the order of bytes: the smallest vocabulary that writes everything.
    public static let characters: [String] = {
        var next: UInt32 = 0x100
        return (UInt8.min...UInt8.max).map { byte in
            if isPrintable(byte) { return String(Unicode.Scalar(byte)) }
            defer { next += 1 }
            return Unicode.Scalar(next).map { String($0) } ?? ""
        }
    }()

    /// The bytes that a vocabulary string stands for; nil if a character is not of the alphabet.
    static func bytes(of string: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(string.utf8.count)
        for scalar in string.unicodeScalars {
            if let byte = UInt8(exactly: scalar.value) {
                guard isPrintable(byte) else { return nil }
                bytes.append(byte)
            } else {
                let index = Int(scalar.value) - 0x100
                guard displaced.indices.contains(index) else { return nil }
                bytes.append(displaced[index])
            }
        }
        return bytes
    }
}

// Just so much of tar as a backup needs: headers of regular files with short names, in the form of POSIX (ustar).

/// A tar header: 512 bytes before each part, which is filled up to a multiple of 512.
public enum TarHeader {
    public static let block = 512

    /// A regular file's; `name` has less than 100 bytes.
    public static func bytes(name: String, size: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        func put(_ text: String, at start: Int) {
            for (index, byte) in text.utf8.enumerated() { bytes[start + index] = byte }
        }
        put(name, at: 0)
        put("0000600\0", at: 100)
        put("0000000\0", at: 108)
        put("0000000\0", at: 116)
        if size < 1 << 33 {
            put(octal(size, 11), at: 124)
        } else {
            // GNU's form for what eleven octal digits cannot hold.
            bytes[124] = 0x80
            for index in 0..<8 { bytes[135 - index] = UInt8(truncatingIfNeeded: size >> (8 * index)) }
        }
        put(octal(0, 11), at: 136)
        put("0", at: 156)
        put("ustar\u{0}00", at: 257)
        put(octal(sum(bytes), 6) + "\0 ", at: 148)
        return bytes
    }

    /// Name and size; nil when these bytes are no header of a regular file, or not as they were written.
    public static func read(_ bytes: [UInt8]) -> (name: String, size: Int)? {
        guard bytes.count == block, bytes[156] == UInt8(ascii: "0"),
            bytes[257..<262].elementsEqual("ustar".utf8), number(bytes[148..<155]) == sum(bytes)
        else { return nil }
        let name = String(decoding: bytes[..<100].prefix { $0 != 0 }, as: UTF8.self)
        if bytes[124] == 0x80 {
            let size = bytes[128..<136].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return Int(exactly: size).map { (name, $0) }
        }
        return number(bytes[124..<136]).map { (name, $0) }
    }

    /// Bytes that a part of this size takes, beside its header.
    public static func padded(_ size: Int) -> Int { (size + block - 1) / block * block }

    /// Of all bytes, those of the sum itself as blanks.
    private static func sum(_ bytes: [UInt8]) -> Int {
        bytes.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element)) }
    }

    private static func octal(_ value: Int, _ digits: Int) -> String {
        let text = String(value, radix: 8)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int? {
        let digits = bytes.prefix { $0 != 0 && $0 != 32 }
        return Int(String(decoding: digits, as: UTF8.self), radix: 8)
    }
}

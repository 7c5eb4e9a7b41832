// Reads the header of a GGUF file from front to back through a window of 256 KiB. Every count is checked
// before anything is reserved by its word.

struct GGUFCursor {
    /// Strings (keys, tokens, templates) and arrays longer than this are not believed.
    static let longestString = 65_536
    static let longestArray = 1 << 20
    static let longestHeader = 100_000_000
    private static let windowBytes = 256 << 10

    let file: SourceFile
    /// Bytes read so far.
    private(set) var offset = 0
    private var window: [UInt8] = []
    private var windowStart = 0

    init(_ file: SourceFile) { self.file = file }

    func bad(_ why: String) -> ImportError {
        ImportError(.badGGUF, "\(file.name), byte \(offset): \(why); download the file again")
    }

    /// The next `count` bytes, which must be at most a window.
    private mutating func take(_ count: Int, _ what: String) throws(ImportError) -> ArraySlice<UInt8> {
        guard offset + count <= file.size else {
            throw ImportError(
                .truncated, "\(file.name), byte \(offset): \(what) is cut off by the end of the file; download it again"
            )
        }
        guard offset + count <= Self.longestHeader else {
            throw ImportError(.tooLarge, "\(file.name): a header of more than \(Self.longestHeader) bytes")
        }
        if offset < windowStart || offset + count > windowStart + window.count {
            window = try file.bytes(at: offset, count: min(Self.windowBytes, file.size - offset), what: "the header")
            windowStart = offset
        }
        defer { offset += count }
        return window[offset - windowStart..<offset - windowStart + count]
    }

    mutating func integer<T: FixedWidthInteger>(_ type: T.Type, _ what: String) throws(ImportError) -> T {
        var value: T = 0
        for byte in try take(T.bitWidth / 8, what).reversed() { value = value << 8 | T(truncatingIfNeeded: byte) }
        return value
    }

    /// A count of things, at most `most`.
    mutating func count(most: Int, _ what: String) throws(ImportError) -> Int {
        let value = try integer(UInt64.self, "the number of \(what)")
        guard value <= UInt64(most) else {
            offset -= 8
            throw bad("\(value) \(what), at most \(most) make sense")
        }
        return Int(value)
    }

    mutating func string(_ what: String) throws(ImportError) -> String {
        let length = try count(most: Self.longestString, "bytes in \(what)")
        guard let text = String(validating: try take(length, what), as: UTF8.self) else {
            throw bad("\(what) is not UTF-8")
        }
        return text
    }

    mutating func bool(_ what: String) throws(ImportError) -> Bool {
        let value = try integer(UInt8.self, what)
        guard value <= 1 else { throw bad("\(what) is \(value), neither true nor false") }
        return value == 1
    }
}

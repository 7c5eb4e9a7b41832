// Little-endian fields out of bytes that may be damaged: every read is checked against what is left.

@safe struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { unsafe self.bytes = bytes }

    var left: Int { unsafe bytes.count - offset }

    private mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(ShardError) -> T {
        let size = MemoryLayout<T>.size
        guard size <= left else {
            throw ShardError(.badConfig, "the data ends at byte \(offset), \(size) more are needed")
        }
        defer { offset += size }
        return T(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    mutating func u8() throws(ShardError) -> UInt8 { try integer(UInt8.self) }
    mutating func u32() throws(ShardError) -> UInt32 { try integer(UInt32.self) }
    mutating func f32() throws(ShardError) -> Float { Float(bitPattern: try u32()) }

    /// A count or size that must lie in `range`.
    mutating func int(_ what: String, in range: ClosedRange<Int>) throws(ShardError) -> Int {
        let value = Int(try u32())
        guard range.contains(value) else {
            throw ShardError(.badConfig, "\(what) is \(value), not within \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    mutating func flag() throws(ShardError) -> Bool {
        let value = try u8()
        guard value <= 1 else { throw ShardError(.badConfig, "\(value) at byte \(offset - 1) is not a flag") }
        return value == 1
    }

    mutating func text(longest: Int) throws(ShardError) -> String {
        let count = try int("a text's length", in: 0...longest)
        guard count <= left else {
            throw ShardError(.badConfig, "a text of \(count) bytes at byte \(offset) is cut off")
        }
        defer { offset += count }
        let slice = unsafe UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
        guard let text = unsafe String(validating: slice, as: UTF8.self) else {
            throw ShardError(.badConfig, "the text at byte \(offset) is not UTF-8")
        }
        return text
    }

    mutating func optional<T>(_ each: (inout ByteReader) throws(ShardError) -> T) throws(ShardError) -> T? {
        try flag() ? try each(&self) : nil
    }
}

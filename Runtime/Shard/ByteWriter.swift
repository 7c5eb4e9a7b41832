// Little-endian fields, appended. The counterpart of `ByteReader`.

struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func u8(_ value: UInt8) { bytes.append(value) }
    mutating func u32(_ value: UInt32) { integer(value) }
    mutating func u64(_ value: UInt64) { integer(value) }
    mutating func f32(_ value: Float) { u32(value.bitPattern) }
    mutating func raw(_ values: [UInt8]) { bytes.append(contentsOf: values) }

    mutating func text(_ value: String) {
        let utf8 = Array(value.utf8)
        u32(UInt32(utf8.count))
        raw(utf8)
    }

    mutating func optional<T>(_ value: T?, _ each: (inout ByteWriter, T) -> Void) {
        u8(value == nil ? 0 : 1)
        if let value { each(&self, value) }
    }

    private mutating func integer<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) { u8(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    /// Zero bytes until `count` stand in all.
    mutating func zero(to count: Int) { bytes.append(contentsOf: repeatElement(0, count: max(0, count - bytes.count))) }
}

// The byte form of every control message: little endian, length-prefixed, one version byte in front.
// Tensors never pass through here (they lie in arenas); what passes is small and comes from processes
// that may be hostile, so the reader checks every length against what is left and against a cap.

/// A message that could not be read: what was wrong and where in it.
public struct WireError: Error, Sendable, CustomStringConvertible {
    public let reason: String
    /// Byte offset within the message.
    public let offset: Int

    public init(reason: String, offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    public var description: String { "malformed message at byte \(offset): \(reason)" }
}

/// Something with a byte form.
public protocol WireMessage: Sendable {
    func encode(into writer: inout WireWriter)
    /// - Throws: `WireError` when bytes are missing, a tag is unknown or a count exceeds its cap.
    init(from reader: inout WireReader) throws(WireError)
}

extension WireMessage {
    /// The message as one frame: version, then its fields.
    public var frame: [UInt8] {
        var writer = WireWriter()
        writer.byte(wireVersion)
        encode(into: &writer)
        return writer.bytes
    }

    /// Reads one frame to its end.
    public init(frame: [UInt8]) throws(WireError) {
        var reader = WireReader(frame)
        let version = try reader.byte()
        guard version == wireVersion else {
            throw WireError(reason: "protocol version \(version), this side speaks \(wireVersion)", offset: 0)
        }
        self = try Self(from: &reader)
        try reader.end()
    }
}

/// Version of all frames; both ends of a connection come from one installation, so it only has to differ.
public let wireVersion: UInt8 = 1

/// Appends fields.
public struct WireWriter: Sendable {
    public private(set) var bytes: [UInt8] = []
    public init() {}

    public mutating func byte(_ value: UInt8) { bytes.append(value) }
    public mutating func flag(_ value: Bool) { bytes.append(value ? 1 : 0) }

    public mutating func integer<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> T(shift)))
        }
    }

    public mutating func float(_ value: Float) { integer(value.bitPattern) }

    public mutating func blob(_ value: [UInt8]) {
        integer(UInt32(value.count))
        bytes.append(contentsOf: value)
    }

    public mutating func string(_ value: String) { blob(Array(value.utf8)) }

    public mutating func list<T>(_ values: [T], _ each: (inout WireWriter, T) -> Void) {
        integer(UInt32(values.count))
        for value in values { each(&self, value) }
    }

    public mutating func integers<T: FixedWidthInteger>(_ values: [T]) { list(values) { $0.integer($1) } }
    public mutating func floats(_ values: [Float]) { list(values) { $0.float($1) } }
    public mutating func messages<T: WireMessage>(_ values: [T]) { list(values) { $1.encode(into: &$0) } }

    public mutating func optional<T>(_ value: T?, _ each: (inout WireWriter, T) -> Void) {
        flag(value != nil)
        if let value { each(&self, value) }
    }
}

/// Reads fields, never past the end.
public struct WireReader: Sendable {
    private let bytes: [UInt8]
    /// Bytes read so far.
    public private(set) var offset = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public func failure(_ reason: String) -> WireError { WireError(reason: reason, offset: offset) }

    private mutating func take(_ count: Int) throws(WireError) -> ArraySlice<UInt8> {
        guard count <= bytes.count - offset else {
            throw failure("\(count) bytes expected, \(bytes.count - offset) left")
        }
        defer { offset += count }
        return bytes[offset..<offset + count]
    }

    public mutating func byte() throws(WireError) -> UInt8 { try integer() }

    public mutating func flag() throws(WireError) -> Bool {
        let value = try byte()
        guard value <= 1 else { throw failure("\(value) is not a flag") }
        return value == 1
    }

    public mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(WireError) -> T {
        var value: T = 0
        for (index, byte) in try take(T.bitWidth / 8).enumerated() {
            value |= T(truncatingIfNeeded: byte) << T(index * 8)
        }
        return value
    }

    public mutating func float() throws(WireError) -> Float { Float(bitPattern: try integer()) }

    public mutating func blob() throws(WireError) -> [UInt8] { Array(try take(Int(try integer(UInt32.self)))) }

    public mutating func string() throws(WireError) -> String {
        let raw = try blob()
        guard let text = String(validating: raw, as: UTF8.self) else { throw failure("a text is not UTF-8") }
        return text
    }

    /// A list of elements that take `minimum` bytes at least, so that a lying count cannot reserve memory.
    public mutating func list<T>(
        minimum: Int = 1, _ each: (inout WireReader) throws(WireError) -> T
    ) throws(WireError) -> [T] {
        let count = Int(try integer(UInt32.self))
        guard count <= (bytes.count - offset) / minimum else {
            throw failure("a list of \(count) elements is too long")
        }
        var result: [T] = []
        // Elements may take much more memory than bytes: what is believed of the count is little.
        result.reserveCapacity(min(count, 1024))
        for _ in 0..<count { result.append(try each(&self)) }
        return result
    }

    public mutating func integers<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(WireError) -> [T] {
        try list(minimum: T.bitWidth / 8) { reader throws(WireError) in try reader.integer(T.self) }
    }
    public mutating func floats() throws(WireError) -> [Float] {
        try list(minimum: 4) { reader throws(WireError) in try reader.float() }
    }
    public mutating func strings() throws(WireError) -> [String] {
        try list(minimum: 4) { reader throws(WireError) in try reader.string() }
    }
    public mutating func messages<T: WireMessage>(_ type: T.Type = T.self) throws(WireError) -> [T] {
        try list { reader throws(WireError) in try T(from: &reader) }
    }

    public mutating func optional<T>(
        _ each: (inout WireReader) throws(WireError) -> T
    ) throws(WireError) -> T? {
        try flag() ? try each(&self) : nil
    }

    /// - Throws: `WireError` when bytes are left.
    public func end() throws(WireError) {
        guard offset == bytes.count else { throw failure("\(bytes.count - offset) bytes too many") }
    }
}

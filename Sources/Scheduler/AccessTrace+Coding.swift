// The byte form of a trace (AccessTrace.swift). The decoder reads what a stranger may have sent: every length is held
// against what is left before anything is reserved, and all arithmetic is on values below 2^48.

/// Writes a trace piece by piece.
public struct TraceEncoder: Sendable {
    public let header: TraceHeader

    /// - Throws: `TraceError` when the header is impossible.
    public init(_ header: TraceHeader) throws(TraceError) {
        try header.validate()
        self.header = header
    }

    /// What a file begins with.
    public var prefix: [UInt8] {
        var writer = TraceWriter()
        writer.bytes += traceMagic
        writer.fixed(traceVersion)
        let name = Array(header.model.utf8)
        writer.fixed(UInt16(name.count))
        writer.bytes += name
        for count in [header.layers, header.experts, header.expertsPerToken] { writer.fixed(UInt16(count)) }
        writer.fixed(UInt32(header.functionBytes.count))
        for bytes in header.functionBytes { writer.fixed(UInt64(bytes)) }
        for function in header.functionOf { writer.fixed(UInt32(function)) }
        writer.fixed(UInt64(header.fixedBytes))
        writer.fixed(UInt64(header.computeNanoseconds))
        return writer.bytes
    }

    /// One row's record.
    ///
    /// - Throws: `TraceError` when the experts are not the header's.
    public func record(_ row: TraceRow) throws(TraceError) -> [UInt8] {
        try row.validate(header)
        var writer = TraceWriter()
        writer.bytes.reserveCapacity(24 + row.experts.count * header.expertWidth)
        writer.bytes.append(row.isPrompt ? 1 : 0)
        writer.variable(UInt64(row.sequence))
        writer.variable(UInt64(row.position))
        writer.variable(row.step)
        for expert in row.experts {
            if header.expertWidth == 1 { writer.fixed(UInt8(expert)) } else { writer.fixed(expert) }
        }
        return writer.bytes
    }
}

extension AccessTrace {
    /// The whole file.
    public var encoded: [UInt8] {
        get throws(TraceError) {
            let encoder = try TraceEncoder(header)
            var bytes = encoder.prefix
            for row in rows { bytes += try encoder.record(row) }
            return bytes
        }
    }

    /// - Throws: `TraceError` when it is no trace, of another version, cut off or impossible.
    public init(decoding bytes: [UInt8]) throws(TraceError) {
        var reader = TraceReader(bytes: bytes)
        let header = try TraceHeader(from: &reader)
        var rows: [TraceRow] = []
        // A record's smallest form; the count of rows is not in the file.
        rows.reserveCapacity(reader.left / (4 + header.expertsPerRow * header.expertWidth))
        while reader.left > 0 { rows.append(try TraceRow(from: &reader, header)) }
        (self.header, self.rows) = (header, rows)
    }
}

private let traceMagic = Array("LCTR".utf8)
private let traceVersion: UInt16 = 1

extension TraceHeader {
    fileprivate init(from reader: inout TraceReader) throws(TraceError) {
        guard try Array(reader.take(4)) == traceMagic else { throw TraceError("this is no trace of locum", at: 0) }
        let version = try reader.fixed(UInt16.self)
        guard version == traceVersion else {
            throw TraceError("version \(version); this program reads \(traceVersion)", at: 4)
        }
        let nameLength = Int(try reader.fixed(UInt16.self))
        guard let name = String(validating: try reader.take(nameLength), as: UTF8.self) else {
            throw TraceError("the model's name is not UTF-8", at: 8)
        }
        let place = reader.offset
        let layers = Int(try reader.fixed(UInt16.self))
        let experts = Int(try reader.fixed(UInt16.self))
        let expertsPerToken = Int(try reader.fixed(UInt16.self))
        let functions = Int(try reader.fixed(UInt32.self))
        guard functions <= reader.left / 8 else { throw reader.failure("\(functions) functions are not in the file") }
        var functionBytes: [Int] = []
        for _ in 0..<functions { functionBytes.append(Int(clamping: try reader.fixed(UInt64.self))) }
        guard layers * experts <= reader.left / 4 else { throw reader.failure("the map of experts is cut off") }
        var functionOf: [Int] = []
        for _ in 0..<layers * experts { functionOf.append(Int(try reader.fixed(UInt32.self))) }
        self.init(
            model: name, layers: layers, experts: experts, expertsPerToken: expertsPerToken,
            functionBytes: functionBytes, functionOf: functionOf,
            fixedBytes: Int(clamping: try reader.fixed(UInt64.self)),
            computeNanoseconds: Int(clamping: try reader.fixed(UInt64.self)))
        do {
            try validate()
        } catch {
            throw TraceError(error.reason, at: place)
        }
    }
}

extension TraceRow {
    fileprivate init(from reader: inout TraceReader, _ header: TraceHeader) throws(TraceError) {
        let flags = try reader.fixed(UInt8.self)
        guard flags <= 1 else { throw reader.failure("\(flags) are no flags of this version") }
        let sequence = try reader.variable(most: UInt64(UInt32.max))
        let position = try reader.variable(most: UInt64(UInt32.max))
        let step = try reader.variable(most: .max)
        let start = reader.offset
        let raw = try reader.take(header.expertsPerRow * header.expertWidth)
        var experts: [UInt16] = []
        experts.reserveCapacity(header.expertsPerRow)
        if header.expertWidth == 1 {
            for byte in raw { experts.append(UInt16(byte)) }
        } else {
            for low in stride(from: raw.startIndex, to: raw.endIndex, by: 2) {
                experts.append(UInt16(raw[low]) | UInt16(raw[low + 1]) << 8)
            }
        }
        self.init(
            sequence: UInt32(sequence), position: UInt32(position), step: step, isPrompt: flags == 1,
            experts: experts)
        do {
            try validate(header)
        } catch {
            throw TraceError(error.reason, at: start)
        }
    }
}

private struct TraceWriter {
    var bytes: [UInt8] = []

    mutating func fixed<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> T(shift)))
        }
    }

    /// LEB128: seven bits a byte, lowest first, the top bit says that more follow.
    mutating func variable(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

private struct TraceReader {
    let bytes: [UInt8]
    private(set) var offset = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var left: Int { bytes.count - offset }

    func failure(_ reason: String) -> TraceError { TraceError(reason, at: offset) }

    mutating func take(_ count: Int) throws(TraceError) -> ArraySlice<UInt8> {
        guard count <= left else { throw failure("cut off: \(count) bytes expected, \(left) left") }
        defer { offset += count }
        return bytes[offset..<offset + count]
    }

    mutating func fixed<T: FixedWidthInteger>(_ type: T.Type) throws(TraceError) -> T {
        var value: T = 0
        for (index, byte) in try take(T.bitWidth / 8).enumerated() {
            value |= T(truncatingIfNeeded: byte) << T(index * 8)
        }
        return value
    }

    mutating func variable(most: UInt64) throws(TraceError) -> UInt64 {
        let start = offset
        var value: UInt64 = 0
        for index in 0..<10 {
            let byte = try fixed(UInt8.self)
            let part = UInt64(byte & 0x7F)
            // The tenth byte holds the 64th bit alone.
            guard index < 9 || part <= 1 else { break }
            value |= part << UInt64(7 * index)
            if byte & 0x80 == 0 {
                guard value <= most else { throw TraceError("\(value) is more than \(most)", at: start) }
                return value
            }
        }
        throw TraceError("a number of more than 64 bits", at: start)
    }
}

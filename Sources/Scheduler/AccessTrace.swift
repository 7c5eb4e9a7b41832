// A recorded run of a model: which experts each row of each step called, layer by layer. `locum trace record` writes
// it, a replay asks any policy about it. The file is little endian:
//
//   "LCTR", version u16, header, then one record per row until the end of the file
//   header  name (u16 length, UTF-8), layers u16, experts u16, experts per token u16, functions u32,
//           bytes per function u64[functions], function of each (layer, expert) u32[layers * experts],
//           fixed bytes u64, compute ns per token u64 (0: not measured)
//   record  flags u8 (bit 0: prompt), sequence, position, step as LEB128, experts u8[layers * k], or u16 when a layer
//           has more than 256
//
// A recorder appends records as rows are computed and never goes back, so a file is whole after each record. Only
// layers with experts count as layers.

/// What is wrong with a trace, and where.
public struct TraceError: Error, Sendable, Equatable, CustomStringConvertible {
    public var reason: String
    /// Byte offset within the file; nil for a value that cannot be written.
    public var offset: Int?

    public init(_ reason: String, at offset: Int? = nil) { (self.reason, self.offset) = (reason, offset) }

    public var description: String { offset.map { "bad trace at byte \($0): \(reason)" } ?? "bad trace: \(reason)" }
}

/// The model as a trace knows it.
public struct TraceHeader: Sendable, Equatable {
    public var model: String
    /// Layers with experts.
    public var layers: Int
    /// Experts of a layer, without shared ones.
    public var experts: Int
    public var expertsPerToken: Int
    /// Bytes of each function's shard.
    public var functionBytes: [Int]
    /// Function that holds an expert: index `layer * experts + expert`.
    public var functionOf: [Int]
    /// What is in memory whatever the experts do: router, KV cache, overheads.
    public var fixedBytes: Int
    /// Time that a token takes when everything is resident; 0 when it was not measured.
    public var computeNanoseconds: Int

    public init(
        model: String, layers: Int, experts: Int, expertsPerToken: Int, functionBytes: [Int], functionOf: [Int],
        fixedBytes: Int = 0, computeNanoseconds: Int = 0
    ) {
        (self.model, self.layers, self.experts) = (model, layers, experts)
        (self.expertsPerToken, self.functionBytes, self.functionOf) = (expertsPerToken, functionBytes, functionOf)
        (self.fixedBytes, self.computeNanoseconds) = (fixedBytes, computeNanoseconds)
    }

    /// - Throws: `TraceError` naming what cannot be.
    func validate() throws(TraceError) {
        func check(_ good: Bool, _ reason: @autoclosure () -> String) throws(TraceError) {
            if !good { throw TraceError(reason()) }
        }
        try check(model.utf8.count <= 1024, "the model's name has \(model.utf8.count) bytes, 1024 are allowed")
        try check((1...1024).contains(layers), "\(layers) layers; 1 to 1024 are possible")
        try check((1...4096).contains(experts), "\(experts) experts; 1 to 4096 are possible")
        try check((1...experts).contains(expertsPerToken), "\(expertsPerToken) experts of \(experts) per token")
        try check(
            (1...layers * experts).contains(functionBytes.count),
            "\(functionBytes.count) functions for \(layers) layers of \(experts) experts")
        try check(functionOf.count == layers * experts, "the map of experts has \(functionOf.count) entries")
        let most = 1 << 48
        if let bytes = functionBytes.first(where: { !(0...most).contains($0) }) {
            throw TraceError("a function of \(bytes) bytes")
        }
        if let function = functionOf.first(where: { !functionBytes.indices.contains($0) }) {
            throw TraceError("function \(function) of \(functionBytes.count)")
        }
        try check((0...most).contains(fixedBytes), "\(fixedBytes) fixed bytes")
        try check((0...most).contains(computeNanoseconds), "\(computeNanoseconds) ns of compute per token")
    }

    /// Numbers of one row's experts.
    var expertsPerRow: Int { layers * expertsPerToken }
    /// Bytes that an expert's number takes in a record.
    var expertWidth: Int { experts <= 256 ? 1 : 2 }
}

/// One row of one step.
public struct TraceRow: Sendable, Equatable {
    /// Which sequence it belongs to, within the recording.
    public var sequence: UInt32
    public var position: UInt32
    /// Rows of one number were computed together; they lie one after another.
    public var step: UInt64
    /// Part of a prompt, not generated.
    public var isPrompt: Bool
    /// By layer, then by rank: index `layer * expertsPerToken + rank`.
    public var experts: [UInt16]

    public init(sequence: UInt32, position: UInt32, step: UInt64, isPrompt: Bool = false, experts: [UInt16]) {
        (self.sequence, self.position, self.step) = (sequence, position, step)
        (self.isPrompt, self.experts) = (isPrompt, experts)
    }

    /// - Throws: `TraceError` when the experts are not the header's.
    func validate(_ header: TraceHeader) throws(TraceError) {
        guard experts.count == header.expertsPerRow else {
            throw TraceError("a row names \(experts.count) experts instead of \(header.expertsPerRow)")
        }
        if let expert = experts.first(where: { Int($0) >= header.experts }) {
            throw TraceError("expert \(expert) of \(header.experts)")
        }
    }
}

/// A whole recording.
public struct AccessTrace: Sendable, Equatable {
    public let header: TraceHeader
    public let rows: [TraceRow]

    /// - Throws: `TraceError` when the header is impossible or a row does not fit it.
    public init(header: TraceHeader, rows: [TraceRow]) throws(TraceError) {
        try header.validate()
        for row in rows { try row.validate(header) }
        (self.header, self.rows) = (header, rows)
    }
}

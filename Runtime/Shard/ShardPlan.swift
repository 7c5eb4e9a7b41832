// The writer's side: from the list of what goes into a shard to its header and the place of every entry.
// Contents are streamed afterwards, in the order of `entries`, so nothing of a model has to be in memory.
public import Kernels

/// What one entry will hold.
public struct ShardContent: Sendable {
    public let role: ShardRole
    public let layer: Int
    public let expert: Int
    public let format: WeightFormat
    public let rows: Int
    public let cols: Int
    let blobLength: Int

    /// A tensor of `rows` × `cols`; a vector has one row.
    public init(_ role: ShardRole, layer: Int = 0, expert: Int = 0, format: WeightFormat, rows: Int, cols: Int) {
        (self.role, self.layer, self.expert) = (role, layer, expert)
        (self.format, self.rows, self.cols, blobLength) = (format, rows, cols, 0)
    }

    /// A blob of `length` bytes.
    public init(blob role: ShardRole, length: Int) {
        (self.role, layer, expert) = (role, 0, 0)
        (format, rows, cols, blobLength) = (.f32, 0, 0, length)
    }
}

/// The places of all entries of a shard that is about to be written.
public struct ShardPlan: Sendable {
    public let kind: ShardKind
    /// In the order of the file.
    public let entries: [ShardEntry]
    /// Bytes of the whole file, whole pages.
    public let length: Int

    /// - Throws: `ShardError` when an entry stands twice, has a shape that its format cannot have, or the
    ///   file would pass the caps of `ShardLayout`.
    public init(kind: ShardKind, contents: [ShardContent]) throws(ShardError) {
        guard contents.count <= ShardLayout.mostEntries else {
            throw ShardError(.tooLarge, "\(contents.count) tensors in one shard, at most \(ShardLayout.mostEntries)")
        }
        let sorted = contents.map { (ShardKey(role: $0.role, layer: $0.layer, expert: $0.expert), $0) }
            .sorted { $0.0 < $1.0 }
        var offset = ShardLayout.headerBytes(entries: contents.count)
        var entries: [ShardEntry] = []
        entries.reserveCapacity(contents.count)
        for (key, content) in sorted {
            if let last = entries.last, last.key == key {
                throw ShardError(.damaged, "two tensors claim to be the \(key.words)")
            }
            let length: Int
            if content.role.content == .blob {
                length = content.blobLength
            } else {
                guard
                    let bytes = ShardLayout.contentBytes(
                        content.role.content, content.format, rows: content.rows, cols: content.cols)
                else {
                    throw ShardError(
                        .badShape,
                        "the \(key.words) cannot be \(content.rows) × \(content.cols) in \(content.format.name)")
                }
                length = bytes
            }
            entries.append(
                ShardEntry(
                    role: content.role, layer: content.layer, expert: content.expert, format: content.format,
                    rows: content.rows, cols: content.cols, offset: offset, length: length))
            offset = ShardLayout.pageAligned(offset + length)
            guard offset <= ShardLayout.longest else {
                throw ShardError(.tooLarge, "a shard of more than \(ShardLayout.longest) bytes")
            }
        }
        self.kind = kind
        self.entries = entries
        self.length = offset
    }

    /// The file's first bytes, whole pages; entry contents follow at their offsets.
    public var header: [UInt8] {
        var bytes = ByteWriter()
        bytes.raw(ShardLayout.magic)
        bytes.u32(ShardLayout.version)
        switch kind {
        case .router:
            for value in [1, entries.count, 0, 0, 0] { bytes.u32(UInt32(value)) }
        case .expert(let hidden, let intermediate, let count):
            for value in [2, entries.count, hidden, intermediate, count] { bytes.u32(UInt32(value)) }
        }
        bytes.u64(UInt64(length))
        bytes.zero(to: ShardLayout.fixedBytes)
        for entry in entries {
            bytes.u32(entry.role.rawValue)
            for value in [entry.layer, entry.expert] { bytes.u32(UInt32(value)) }
            bytes.u32(entry.format.rawValue)
            for value in [entry.rows, entry.cols] { bytes.u32(UInt32(value)) }
            for value in [entry.offset, entry.length] { bytes.u64(UInt64(value)) }
        }
        bytes.zero(to: ShardLayout.headerBytes(entries: entries.count))
        return bytes.bytes
    }
}

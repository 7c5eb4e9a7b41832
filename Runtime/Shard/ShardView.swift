// The reader's side: a mapped shard, checked once from end to end, then handed out as pointers without
// further checks on the hot path. Everything that a worker relies on is settled here: bounds, alignment,
// order (hence no overlaps), lengths that follow from format and shape, and in an expert shard the shape
// of every matrix. The view borrows the mapping; whoever maps keeps it for as long as the view is used.
public import Kernels

/// A validated shard in memory.
@safe public struct ShardView: @unchecked Sendable {
    public let kind: ShardKind
    /// Entries in the table.
    public let count: Int
    private let bytes: UnsafeRawBufferPointer

    /// Checks the whole table of the shard that `bytes` holds, header first.
    /// - Throws: `ShardError` with the place of the fault.
    public init(validating bytes: UnsafeRawBufferPointer) throws(ShardError) {
        let header = try unsafe ShardHeader(bytes, length: bytes.count)
        guard header.version == ShardLayout.version else {
            throw ShardError(
                .unsupportedVersion,
                "layout version \(header.version), this Locum reads \(ShardLayout.version); `locum verify --repair` "
                    + "rewrites it")
        }
        unsafe self.bytes = bytes
        kind = header.kind
        count = header.entries
        try unsafe header.check(bytes)
        if case .expert(let hidden, let intermediate, let experts) = kind {
            try checkExperts(hidden: hidden, intermediate: intermediate, count: experts)
        }
    }

    /// Bytes of the header in whole pages, as far as the first bytes of a shard tell: a page when none are known.
    /// Nothing is checked.
    public static func headerBytes(of first: UnsafeRawBufferPointer) -> Int {
        guard first.count >= ShardLayout.fixedBytes else { return ShardLayout.page }
        let entries = UInt32(littleEndian: unsafe first.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        return ShardLayout.headerBytes(entries: min(Int(entries), ShardLayout.mostEntries))
    }

    /// The entry of that name, nil when there is none.
    public func entry(_ role: ShardRole, layer: Int = 0, expert: Int = 0) -> ShardEntry? {
        let key = ShardKey(role: role, layer: layer, expert: expert)
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            guard let entry = try? unsafe ShardHeader.entry(middle, in: bytes) else { return nil }
            if entry.key == key { return entry }
            if entry.key < key { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    /// All entries, in the order of the file.
    public var entries: [ShardEntry] { (0..<count).compactMap { try? unsafe ShardHeader.entry($0, in: bytes) } }

    /// A packed matrix (rows, cols).
    public func matrix(_ role: ShardRole, layer: Int = 0, expert: Int = 0) throws(ShardError) -> PackedMatrix {
        let (entry, base) = try unsafe require(role, layer, expert, .matrix)
        let matrix = unsafe PackedMatrix(
            format: entry.format, rows: entry.rows, columns: entry.cols, base: base, byteCount: entry.length)
        guard let matrix else { throw ShardError(.damaged, "the shard is not mapped at a page") }
        return matrix
    }

    /// A matrix of plain rows (rows, cols) for look-ups.
    public func rows(_ role: ShardRole, layer: Int = 0) throws(ShardError) -> PlainRows {
        let (entry, base) = try unsafe require(role, layer, 0, .rows)
        return unsafe PlainRows(entry, base: base)
    }

    /// A vector of f32.
    public func vector(
        _ role: ShardRole, layer: Int = 0, expert: Int = 0
    ) throws(ShardError) -> UnsafeBufferPointer<Float> {
        let (entry, base) = try unsafe require(role, layer, expert, .vector)
        return unsafe UnsafeBufferPointer(start: base.assumingMemoryBound(to: Float.self), count: entry.cols)
    }

    /// A blob, nil when the shard has none of that kind.
    public func blob(_ role: ShardRole) -> UnsafeRawBufferPointer? {
        guard role.content == .blob, let entry = entry(role) else { return nil }
        return unsafe UnsafeRawBufferPointer(rebasing: bytes[entry.offset..<entry.offset + entry.length])
    }

    private func require(
        _ role: ShardRole, _ layer: Int, _ expert: Int, _ content: ShardRole.Content
    ) throws(ShardError) -> (ShardEntry, UnsafeRawPointer) {
        guard let entry = entry(role, layer: layer, expert: expert), role.content == content,
            let base = unsafe bytes.baseAddress
        else {
            let key = ShardKey(role: role, layer: layer, expert: expert)
            throw ShardError(.missingTensor, "the shard has no \(key.words); deploy the model again")
        }
        return unsafe (entry, base + entry.offset)
    }

    private func checkExperts(hidden: Int, intermediate: Int, count experts: Int) throws(ShardError) {
        guard count == 3 * experts else {
            throw ShardError(.damaged, "\(count) tensors for \(experts) experts, which have 3 each")
        }
        for expert in 0..<experts {
            let shapes: [(ShardRole, Int, Int)] = [
                (.expertGate, intermediate, hidden), (.expertUp, intermediate, hidden),
                (.expertDown, hidden, intermediate),
            ]
            for (role, rows, cols) in shapes {
                try checkShape(role, expert: expert, rows: rows, cols: cols)
            }
        }
    }

    /// - Throws: `ShardError` when the entry is missing or has another shape.
    func checkShape(_ role: ShardRole, layer: Int = 0, expert: Int = 0, rows: Int, cols: Int) throws(ShardError) {
        let key = ShardKey(role: role, layer: layer, expert: expert)
        guard let entry = entry(role, layer: layer, expert: expert) else {
            throw ShardError(.missingTensor, "the shard has no \(key.words); deploy the model again")
        }
        guard entry.rows == rows, entry.cols == cols else {
            throw ShardError(
                .badShape, "the \(key.words) is \(entry.rows) × \(entry.cols), but must be \(rows) × \(cols)")
        }
    }
}

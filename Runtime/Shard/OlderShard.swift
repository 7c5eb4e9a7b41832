// What `locum verify --repair` and `locum restore` need to know of a shard of an earlier layout: where its entries are. Only
// packed matrices differ (CKernels.h, lk_renew_tile).
import Kernels

/// The table of a shard of an earlier layout.
public struct OlderShard: Sendable {
    public let kind: ShardKind
    /// In the order of the file.
    public let entries: [ShardEntry]
    /// Bytes before the first entry.
    public let headerBytes: Int

    /// Bytes from a file's beginning that tell how long its header is.
    public static let firstBytes = ShardLayout.fixedBytes

    /// - Parameters:
    ///   - header: `ShardView.headerBytes(of:)` bytes from the file's beginning.
    ///   - length: the file's.
    /// - Returns: nil when the shard has today's layout.
    /// - Throws: `ShardError` when it is none, damaged, or of a newer Locum.
    public init?(header bytes: UnsafeRawBufferPointer, length: Int) throws(ShardError) {
        let header = try unsafe ShardHeader(bytes, length: length)
        guard header.version < ShardLayout.version else { return nil }
        headerBytes = ShardLayout.headerBytes(entries: header.entries)
        guard bytes.count >= headerBytes else {
            throw ShardError(.damaged, "its table does not fit in \(length) bytes")
        }
        var entries: [ShardEntry] = []
        try unsafe header.check(bytes) { entries.append($0) }
        (kind, self.entries) = (header.kind, entries)
    }

    /// The same shard in today's layout.
    public func plan() throws(ShardError) -> ShardPlan {
        try ShardPlan(
            kind: kind,
            contents: entries.map { entry in
                entry.role.content == .blob
                    ? ShardContent(blob: entry.role, length: entry.length)
                    : ShardContent(
                        entry.role, layer: entry.layer, expert: entry.expert, format: entry.format, rows: entry.rows,
                        cols: entry.cols)
            })
    }
}

// Layout version 2 of a shard file. All integers little endian.
//
//     0   magic "LOCUMSH1"
//     8   u32 layout version, u32 kind (1 router, 2 expert), u32 entries, u32 hidden, u32 intermediate,
//         u32 local experts (the last three 0 in a router shard)
//     32  u64 length of the file, 24 bytes zero
//     64  entries of 40 bytes: u32 role, layer, expert, format, rows, cols; u64 offset, length
//     …   zero to the end of the page; then each entry's bytes at a page of its own, zero padded
//
// The entries ascend by (layer, expert, role) and their offsets with them: duplicates and overlaps cannot
// be written down, look-ups are a binary search, and one expert's pages lie together.
public import Kernels

/// Whose shard it is, with what an expert worker has to know before its first call.
public enum ShardKind: Sendable, Equatable {
    case router
    /// `count` experts of one shape: x (hidden,) -> intermediate -> (hidden,).
    case expert(hidden: Int, intermediate: Int, count: Int)
}

/// One entry of a shard's table.
public struct ShardEntry: Sendable, Equatable {
    public let role: ShardRole
    public let layer: Int
    public let expert: Int
    /// f32 for blobs, where it means nothing.
    public let format: WeightFormat
    public let rows: Int
    public let cols: Int
    /// Bytes from the start of the file, a multiple of the page.
    public let offset: Int
    /// Bytes, without padding.
    public let length: Int

    /// What the table is sorted by.
    var key: ShardKey { ShardKey(role: role, layer: layer, expert: expert) }
}

/// Names an entry.
struct ShardKey: Comparable {
    let role: ShardRole
    let layer: Int
    let expert: Int

    static func < (a: ShardKey, b: ShardKey) -> Bool {
        (a.layer, a.expert, a.role.rawValue) < (b.layer, b.expert, b.role.rawValue)
    }

    var words: String {
        switch role.scope {
        case .model: "\(role)"
        case .layer: "\(role) of layer \(layer)"
        case .expert: "\(role) of local expert \(expert)"
        }
    }
}

/// Constants of the layout, and caps that hold for every shard: a table is refused before it can make
/// anyone reserve memory by its word.
public enum ShardLayout {
    public static let page = 4096
    public static let version: UInt32 = 2
    public static let mostEntries = 262_144
    public static let mostRows = 1 << 24
    public static let mostCols = 1 << 18
    /// 4 TiB.
    public static let longest = 1 << 42

    static let magic = Array("LOCUMSH1".utf8)
    static let fixedBytes = 64
    static let entryBytes = 40

    static func headerBytes(entries: Int) -> Int { pageAligned(fixedBytes + entries * entryBytes) }

    /// The version that a shard's first bytes tell; nil when they are no shard's.
    public static func version(of first: UnsafeRawBufferPointer) -> UInt32? {
        guard first.count >= magic.count + 4, unsafe first.starts(with: magic) else { return nil }
        return UInt32(littleEndian: unsafe first.loadUnaligned(fromByteOffset: magic.count, as: UInt32.self))
    }

    /// `bytes` rounded up to whole pages.
    public static func pageAligned(_ bytes: Int) -> Int { (bytes + page - 1) / page * page }

    /// Bytes that an entry's content takes, nil when no such content can be.
    /// Rows and cols have passed the caps, so nothing here overflows.
    static func contentBytes(
        _ content: ShardRole.Content, _ format: WeightFormat, rows: Int, cols: Int, version: UInt32 = version
    ) -> Int? {
        guard (1...mostRows).contains(rows), (1...mostCols).contains(cols), cols % format.blockSize == 0 else {
            return nil
        }
        switch content {
        case .blob: return nil
        case .vector: return format == .f32 && rows == 1 ? cols * 4 : nil
        case .rows: return format.rowBytes(columns: cols).map { $0 * rows }
        case .matrix:
            guard version < Self.version else { return format.packedBytes(rows: rows, columns: cols) }
            return format.olderTileBytes(columns: cols).map { $0 * ((rows + 15) / 16) }
        }
    }
}

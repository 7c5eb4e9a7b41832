// The fixed part of a shard's header, and what it demands of each entry of the table that follows.
import Kernels

struct ShardHeader {
    let kind: ShardKind
    let entries: Int
    let length: Int

    /// Reads and checks the first 64 bytes; afterwards the table of `entries` is known to lie within `bytes`.
    init(_ bytes: UnsafeRawBufferPointer) throws(ShardError) {
        guard bytes.count >= ShardLayout.fixedBytes, unsafe bytes.starts(with: ShardLayout.magic) else {
            throw ShardError(.notAShard, "the file does not begin with LOCUMSH1; deploy the model again")
        }
        func u32(_ byte: Int) -> Int {
            Int(UInt32(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: byte, as: UInt32.self)))
        }
        guard u32(8) == Int(ShardLayout.version) else {
            throw ShardError(
                .unsupportedVersion,
                "layout version \(u32(8)), this Locum reads \(ShardLayout.version); deploy the model again")
        }
        entries = u32(16)
        let stated = UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
        guard stated == UInt64(bytes.count) else {
            throw ShardError(.damaged, "the header speaks of \(stated) bytes, the file has \(bytes.count)")
        }
        length = bytes.count
        guard entries <= ShardLayout.mostEntries, ShardLayout.headerBytes(entries: entries) <= length else {
            throw ShardError(.damaged, "a table of \(entries) entries does not fit in \(length) bytes")
        }
        switch u32(12) {
        case 1:
            kind = .router
        case 2:
            kind = .expert(hidden: u32(20), intermediate: u32(24), count: u32(28))
        case let other:
            throw ShardError(.damaged, "unknown kind of shard \(other)")
        }
    }

    /// - Throws: `ShardError` unless `entry` may follow `previous` in this shard.
    func check(_ entry: ShardEntry, index: Int, after previous: ShardEntry?) throws(ShardError) {
        func damaged(_ why: String) -> ShardError { ShardError(.damaged, "entry \(index) (\(entry.key.words)) \(why)") }
        let floor: Int
        if let previous {
            guard previous.key < entry.key else { throw damaged("does not follow \(previous.key.words)") }
            floor = ShardLayout.pageAligned(previous.offset + previous.length)
        } else {
            floor = ShardLayout.headerBytes(entries: entries)
        }
        let (isExpert, forExpert) = (entry.role.scope == .expert, kind != .router)
        guard isExpert == forExpert else { throw damaged("does not belong into this kind of shard") }
        switch entry.role.scope {
        case .model:
            guard entry.layer == 0, entry.expert == 0 else { throw damaged("names a layer or an expert") }
        case .layer:
            guard entry.expert == 0 else { throw damaged("names an expert") }
        case .expert:
            guard entry.layer == 0 else { throw damaged("names a layer") }
        }
        guard entry.offset == floor else { throw damaged("lies at byte \(entry.offset) instead of \(floor)") }
        guard entry.length <= length - entry.offset else { throw damaged("ends beyond the file") }
        if entry.role.content == .blob {
            guard entry.rows == 0, entry.cols == 0 else { throw damaged("is a blob with a shape") }
            return
        }
        let implied = ShardLayout.contentBytes(
            entry.role.content, entry.format, rows: entry.rows, cols: entry.cols)
        guard let implied else {
            throw damaged("cannot be \(entry.rows) × \(entry.cols) in \(entry.format.name)")
        }
        guard implied == entry.length else { throw damaged("has \(entry.length) bytes, its shape needs \(implied)") }
        if entry.role == .gate, entry.format != .f32 { throw damaged("must be F32") }
    }
}

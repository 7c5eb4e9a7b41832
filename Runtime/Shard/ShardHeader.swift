// The fixed part of a shard's header, and what it demands of each entry of the table that follows.
import Kernels

struct ShardHeader {
    /// The layout's.
    let version: UInt32
    let kind: ShardKind
    let entries: Int
    let length: Int

    /// Reads and checks the first 64 bytes; afterwards the table of `entries` is known to lie within the file.
    /// - Parameters:
    ///   - bytes: the file's first ones.
    ///   - length: the file's.
    init(_ bytes: UnsafeRawBufferPointer, length: Int) throws(ShardError) {
        guard bytes.count >= ShardLayout.fixedBytes, let version = unsafe ShardLayout.version(of: bytes) else {
            throw ShardError(.notAShard, "the file does not begin with LOCUMSH1; deploy the model again")
        }
        func u32(_ byte: Int) -> Int {
            Int(UInt32(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: byte, as: UInt32.self)))
        }
        guard (1...ShardLayout.version).contains(version) else {
            throw ShardError(
                .unsupportedVersion,
                "layout version \(version), this Locum knows versions up to \(ShardLayout.version); use a newer one, or "
                    + "deploy the model again")
        }
        self.version = version
        entries = u32(16)
        let stated = UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
        guard Int(exactly: stated) == length else {
            throw ShardError(.damaged, "the header speaks of \(stated) bytes, the file has \(length)")
        }
        self.length = length
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

    /// Checks the whole table, and that the file ends with it.
    /// - Parameters:
    ///   - bytes: the file's first ones, at least `ShardLayout.headerBytes`.
    ///   - each: called for every entry, in the order of the file.
    func check(_ bytes: UnsafeRawBufferPointer, _ each: (ShardEntry) -> Void = { _ in }) throws(ShardError) {
        var previous: ShardEntry?
        for index in 0..<entries {
            let entry = try unsafe Self.entry(index, in: bytes)
            try check(entry, index: index, after: previous)
            each(entry)
            previous = entry
        }
        let end = previous.map { $0.offset + $0.length } ?? ShardLayout.headerBytes(entries: entries)
        guard ShardLayout.pageAligned(end) == length else {
            throw ShardError(.damaged, "the last tensor ends at byte \(end), but the file has \(length)")
        }
    }

    /// - Throws: `ShardError` unless `entry` may follow `previous` in this shard.
    private func check(_ entry: ShardEntry, index: Int, after previous: ShardEntry?) throws(ShardError) {
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
            entry.role.content, entry.format, rows: entry.rows, cols: entry.cols, version: version)
        guard let implied else {
            throw damaged("cannot be \(entry.rows) × \(entry.cols) in \(entry.format.name)")
        }
        guard implied == entry.length else { throw damaged("has \(entry.length) bytes, its shape needs \(implied)") }
        if entry.role == .gate, entry.format != .f32 { throw damaged("must be F32") }
    }

    /// Entry `index` of a table whose bounds are checked.
    static func entry(_ index: Int, in bytes: UnsafeRawBufferPointer) throws(ShardError) -> ShardEntry {
        let place = ShardLayout.fixedBytes + index * ShardLayout.entryBytes
        func u32(_ field: Int) -> UInt32 {
            UInt32(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: place + field * 4, as: UInt32.self))
        }
        func u64(_ byte: Int) -> UInt64 {
            UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: place + byte, as: UInt64.self))
        }
        guard let role = ShardRole(rawValue: u32(0)) else {
            throw ShardError(.damaged, "entry \(index) has the unknown role \(u32(0))")
        }
        guard let format = WeightFormat(rawValue: u32(3)) else {
            throw ShardError(.damaged, "entry \(index) has the unknown format \(u32(3))")
        }
        guard let offset = Int(exactly: u64(24)), let length = Int(exactly: u64(32)) else {
            throw ShardError(.damaged, "entry \(index) lies outside of any file")
        }
        return ShardEntry(
            role: role, layer: Int(u32(1)), expert: Int(u32(2)), format: format, rows: Int(u32(4)), cols: Int(u32(5)),
            offset: offset, length: length)
    }
}

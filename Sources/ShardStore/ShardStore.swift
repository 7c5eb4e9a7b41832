// The content-addressed store of shards: a folder of files named by the SHA-256 of their bytes, and a folder
// beside it (same file system) where they are written. Only `locum-node` opens either, and it holds the data
// folder's lock, so there is one writer: a temporary file found at the start is a leftover of a crash.
//
// A file enters by fsync and rename, so the store never holds a part of a shard; `flush` makes the renames
// last before the registry may refer to them. What the registry does not refer to is removed by `collect`.
import Glibc
import Shard
public import Syscall

/// Shard files by digest.
public final class ShardStore {
    /// Bytes left free on the disk when space for a shard is reserved, so that the registry can still commit.
    public static let reserve: UInt64 = 16 << 20

    private let folder: String
    private let temporary: String
    private var counter: UInt64 = 0

    /// Opens the store, making both folders (mode 0700) and removing leftovers of a crash.
    /// - Throws: `ShardStoreError` when a folder cannot be made.
    public init(folder: String, temporary: String) throws(ShardStoreError) {
        (self.folder, self.temporary) = (folder, temporary)
        for path in [folder, temporary] where mkdir(path, 0o700) < 0 && errno != EEXIST {
            throw ShardStoreError(SyscallError(stage: "make folder \(path)"))
        }
        for name in try Self.names(in: temporary) where name.hasPrefix(Self.prefix) { unlink("\(temporary)/\(name)") }
    }

    private static let prefix = "shard-"
    private func path(_ digest: ShardDigest) -> String { "\(folder)/\(digest.hex)" }

    /// Whether a shard of this digest is stored.
    public func has(_ digest: ShardDigest) -> Bool { length(of: digest) != nil }

    /// Length of a stored shard in bytes, nil when there is none.
    public func length(of digest: ShardDigest) -> UInt64? {
        var info = stat()
        guard stat(path(digest), &info) == 0, info.st_mode & S_IFMT == S_IFREG else { return nil }
        return UInt64(info.st_size)
    }

    /// Opens a stored shard read-only.
    /// - Throws: `ShardStoreError` `shard_missing`.
    public func open(_ digest: ShardDigest) throws(ShardStoreError) -> (file: Descriptor, length: UInt64) {
        let path = path(digest)
        let raw = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if raw < 0 && errno == ENOENT {
            throw ShardStoreError(
                code: "shard_missing", message: "shard \(path) is not there; deploy its model again")
        }
        let file = Descriptor(owning: try stored(raw, "open shard \(path)"))
        var info = stat()
        try stored(fstat(file.raw, &info), "read the length of shard \(path)")
        return (file, UInt64(info.st_size))
    }

    /// Whether a stored shard has an earlier layout than this Locum reads.
    public func isOlder(_ digest: ShardDigest) -> Bool {
        guard let (file, _) = try? open(digest) else { return false }
        var first = [UInt8](repeating: 0, count: 16)
        guard pread(file.raw, &first, first.count, 0) == first.count else { return false }
        return first.withUnsafeBytes { ShardLayout.version(of: $0) }.map { $0 < ShardLayout.version } ?? false
    }

    /// A new file of `length` bytes, its space reserved where the file system can.
    /// - Throws: `ShardStoreError` `disk_full` with the numbers, `too_large`, or `store_failed`.
    public func createTemporary(length: UInt64) throws(ShardStoreError) -> TemporaryShard {
        var disk = statvfs()
        try stored(statvfs(temporary, &disk), "read the free space of \(temporary)")
        let free = UInt64(disk.f_bavail) &* UInt64(disk.f_frsize)
        guard length <= UInt64(off_t.max) - Self.reserve, length + Self.reserve <= free else {
            throw ShardStoreError(
                code: "disk_full",
                message: "a shard of \(length) bytes does not fit into \(temporary): \(free) bytes are free, "
                    + "\(Self.reserve) of which stay so; free some space there, or use another data folder (--data)")
        }
        counter += 1
        let path = "\(temporary)/\(Self.prefix)\(getpid())-\(counter)"
        let raw = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        let writable = Descriptor(owning: try stored(raw, "create \(path)"))
        let readable = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard readable >= 0 else {
            let error = SyscallError(stage: "open \(path)")
            unlink(path)
            throw ShardStoreError(error)
        }
        // From here on the object removes the file if anything fails.
        let shard = TemporaryShard(
            path: path, length: length, writable: writable, readable: Descriptor(owning: readable))
        let failure = length == 0 ? 0 : posix_fallocate(raw, 0, off_t(length))
        guard [0, EOPNOTSUPP, EINVAL].contains(failure) else {
            throw ShardStoreError(
                SyscallError(stage: "reserve \(length) bytes for \(path) (\(free) were free)", errno: failure))
        }
        return shard
    }

    /// Takes a sealed and hashed file into the store. False when the store had it already (the file goes).
    public func commit(_ shard: TemporaryShard, as digest: ShardDigest) throws(ShardStoreError) -> Bool {
        // A file of another length under this name is damaged: what was just hashed replaces it.
        if length(of: digest) == shard.length {
            // It takes as long as a shard that is new: whoever deploys learns nothing of what others have.
            try shard.settle()
            shard.remove()
            return false
        }
        try shard.commit(to: path(digest))
        return true
    }

    /// Makes all commits so far survive a power cut.
    public func flush() throws(ShardStoreError) {
        // The temporary one changes also where the store does not, so that both take as long.
        for path in [temporary, folder] {
            let raw = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            let opened = Descriptor(owning: try stored(raw, "open folder \(path)"))
            try stored(fsync(opened.raw), "write folder \(path) to disk")
        }
    }

    /// Digests of all stored shards.
    public func all() throws(ShardStoreError) -> [ShardDigest] {
        try Self.names(in: folder).compactMap { ShardDigest(hex: $0) }
    }

    /// Begins to remove all shards but those in `digests`, and damaged ones set aside.
    public func collect(keeping digests: Set<ShardDigest>) throws(ShardStoreError) -> ShardCollection {
        let stale = try Self.names(in: folder).filter { name in
            ShardDigest(hex: name).map { !digests.contains($0) } ?? name.hasSuffix(Self.damaged)
        }
        return ShardCollection(stale.map { "\(folder)/\($0)" })
    }

    private static let damaged = ".damaged"

    /// Sets a shard aside whose bytes do not agree with its name: the next deployment writes it anew, and
    /// no worker starts from it meanwhile.
    public func quarantine(_ digest: ShardDigest) throws(ShardStoreError) {
        try stored(rename(path(digest), path(digest) + Self.damaged), "set aside damaged shard \(path(digest))")
    }

    /// Asks the kernel to let go of a shard's pages. Works only when nobody has it mapped.
    /// - Returns: bytes that are in memory all the same.
    @discardableResult
    public func releasePages(of digest: ShardDigest) -> UInt64 {
        guard let (file, length) = try? open(digest) else { return 0 }
        posix_fadvise(file.raw, 0, 0, POSIX_FADV_DONTNEED)
        return Self.residentBytes(file, length)
    }

    /// Bytes of a stored shard that are in memory, whoever uses them; 0 when it cannot be told.
    public func residentBytes(of digest: ShardDigest) -> UInt64 {
        guard let (file, length) = try? open(digest) else { return 0 }
        return Self.residentBytes(file, length)
    }

    private static func residentBytes(_ file: Descriptor, _ length: UInt64) -> UInt64 {
        guard length > 0, let mapping = try? Mapping(file.raw, count: Int(length), writable: false) else { return 0 }
        let pages = (mapping.count + 4095) / 4096
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: pages) { vector in
            guard mincore(mapping.base, mapping.count, vector.baseAddress) == 0 else { return 0 }
            return vector.reduce(0) { $0 + UInt64($1 & 1) } * 4096
        }
    }

    private static func names(in folder: String) throws(ShardStoreError) -> [String] {
        guard let stream = opendir(folder) else { throw ShardStoreError(SyscallError(stage: "list folder \(folder)")) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}

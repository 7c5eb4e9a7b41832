// Writes a backup beside its name and gives it the name when it is whole and on the disk.
import Crypto
import FoundationEssentials
import FunctionModel
import Glibc
import Syscall

/// A backup being written; removed unless it is finished.
final class BackupWriter {
    struct Failure: Error, CustomStringConvertible { let description: String }

    /// A shard that was to be copied is not there (any more).
    struct ShardGone: Error, CustomStringConvertible {
        let path: String
        var description: String { "\(path) is not there, so its model cannot be backed up; `locum verify` says which" }
    }

    private static let block = 1 << 20
    private let target: String
    private let partial: String
    private let file: Descriptor
    private var written = 0
    private let progress = Progress()

    init(_ target: String) throws {
        self.target = target
        partial = target + ".partial"
        guard access(target, F_OK) != 0 else {
            throw Failure(description: "\(target) is there already; name another file")
        }
        let raw = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard raw >= 0 || errno != EEXIST else {
            throw Failure(
                description: "\(partial) is there: another backup is being made, or one was cut off; then remove it")
        }
        file = Descriptor(owning: try check(raw, "make \(partial)"))
    }

    deinit {
        progress.end()
        unlink(partial)
    }

    /// - Parameters:
    ///   - folder: where the shards lie.
    ///   - usage: what was used in hours from this second since 1970 on, some of them; empty: in none.
    /// - Returns: how many shards, and the file's bytes.
    func write(
        _ index: BackupIndex, from folder: String, usage: (Int64) throws -> [UsageHour]
    ) throws -> (shards: Int, bytes: Int) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let json = Array(try encoder.encode(index))
        guard json.count <= BackupIndex.longest else {
            throw Failure(
                description: "the list of models has \(json.count) bytes; at most \(BackupIndex.longest) fit a backup")
        }
        let digest = Hexadecimal.text(Array(SHA256.hash(data: json)))
        try put(TarHeader.bytes(name: BackupIndex.entry(index: digest), size: json.count))
        try put(json)
        try pad()
        let shards = Set(index.models.flatMap(\.shards)).sorted()
        for (done, digest) in shards.enumerated() {
            progress.show("shards", UInt64(done), UInt64(shards.count))
            try copy(digest, folder)
        }
        try put(usage)
        // Two empty blocks end a tar file.
        try put([UInt8](repeating: 0, count: 2 * TarHeader.block))
        try check(fsync(file.raw), "write \(partial) to disk")
        try check(rename(partial, target), "rename \(partial) to \(target)")
        try syncFolder()
        return (shards.count, written)
    }

    /// Its length and its name are known only when all of it is written: the header comes last.
    private func put(_ usage: (Int64) throws -> [UsageHour]) throws {
        let begin = written
        var hours = try usage(0)
        guard !hours.isEmpty else { return }
        try put([UInt8](repeating: 0, count: TarHeader.block))
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var hash = SHA256()
        while let last = hours.last {
            var lines: [UInt8] = []
            for hour in hours { lines += Array(try encoder.encode(hour)) + [10] }
            hash.update(data: lines)
            try put(lines)
            hours = try usage(last.hour + 1)
        }
        let digest = Hexadecimal.text(Array(hash.finalize()))
        let header = TarHeader.bytes(
            name: BackupIndex.entry(usage: digest), size: written - begin - TarHeader.block)
        let count = header.withUnsafeBytes { pwrite(file.raw, $0.baseAddress, $0.count, off_t(begin)) }
        guard try check(count, "write \(partial)") == header.count else {
            throw SyscallError(stage: "write \(partial)", errno: ENOSPC)
        }
        try pad()
    }

    private func copy(_ digest: String, _ folder: String) throws {
        let path = "\(folder)/\(digest)"
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 || errno != ENOENT else { throw ShardGone(path: path) }
        let shard = Descriptor(owning: try check(raw, "open \(path)"))
        var info = stat()
        try check(fstat(shard.raw, &info), "read the length of \(path)")
        let size = Int(info.st_size)
        try put(TarHeader.bytes(name: BackupIndex.entry(shard: digest), size: size))
        var hash = SHA256()
        var bytes = [UInt8](repeating: 0, count: Self.block)
        var rest = size
        while rest > 0 {
            let got = try check(read(shard.raw, &bytes, min(bytes.count, rest)), "read \(path)")
            guard got > 0 else { break }
            bytes.withUnsafeBytes { hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: $0[..<got])) }
            try put(got == bytes.count ? bytes : Array(bytes[..<got]))
            rest -= got
        }
        guard rest == 0, Hexadecimal.text(Array(hash.finalize())) == digest else {
            throw Failure(
                description:
                    "\(path) is damaged and was not backed up: run `locum verify`, deploy its model again, and "
                    + "try again")
        }
        try pad()
    }

    private func pad() throws {
        try put([UInt8](repeating: 0, count: TarHeader.padded(written) - written))
    }

    private func put(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file.raw, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            rest = rest.dropFirst(try check(count, "write \(partial)"))
        }
        written += bytes.count
    }

    /// Makes the name last.
    private func syncFolder() throws {
        let path = DataFolder.absolute(target)
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "/"
        let opened = Descriptor(owning: try check(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open \(folder)"))
        try check(fsync(opened.raw), "write \(folder) to disk")
    }
}

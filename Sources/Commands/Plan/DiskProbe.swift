// How fast this host's disk gives large pieces of files, measured as shards are read: through the page cache, in pieces
// of some megabytes, after the pages were dropped.
import CLinux
import Glibc
import Syscall

/// Measures reading.
enum DiskProbe {
    /// What is assumed where nothing can be measured.
    static let assumed = 1e9
    private static let most = 384 << 20
    private static let piece = 4 << 20
    private static let longest: UInt64 = 1_500_000_000

    /// Bytes per second from the largest files of a folder.
    static func bytesPerSecond(folder: String) -> Double {
        guard let stream = opendir(folder) else { return assumed }
        defer { closedir(stream) }
        var files: [(path: String, bytes: Int)] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            var info = stat()
            guard stat("\(folder)/\(name)", &info) == 0, info.st_mode & S_IFMT == S_IFREG else { continue }
            files.append(("\(folder)/\(name)", Int(info.st_size)))
        }
        return bytesPerSecond(files.sorted { $0.bytes > $1.bytes }.prefix(64).map(\.path))
    }

    /// Bytes per second of these files, up to some hundred megabytes.
    static func bytesPerSecond(_ paths: [String]) -> Double { measured(paths) ?? assumed }

    /// The same; nil where there was too little to read.
    static func measured(_ paths: [String]) -> Double? {
        var (read, spent): (Int, UInt64) = (0, 0)
        for path in paths where read < most && spent < longest {
            let raw = open(path, O_RDONLY | O_CLOEXEC)
            guard raw >= 0 else { continue }
            let file = Descriptor(owning: raw)
            let length = Int(lseek(raw, 0, SEEK_END))
            var offset = 0
            while offset < length, read < most, spent < longest {
                let count = min(piece, length - offset)
                posix_fadvise(raw, off_t(offset), off_t(count), POSIX_FADV_DONTNEED)
                guard let base = locum_map(count, PROT_READ, MAP_SHARED, file.raw, off_t(offset)) else { break }
                locum_expect_large_pages(base, count)
                let begun = locum_monotonic_ns()
                let done = locum_populate(base, count)
                spent += locum_monotonic_ns() - begun
                munmap(base, count)
                posix_fadvise(raw, off_t(offset), off_t(count), POSIX_FADV_DONTNEED)
                guard done == 0 else { break }
                read += count
                offset += count
            }
        }
        guard read >= 1 << 20, spent > 0 else { return nil }
        return Double(read) / (Double(spent) / 1e9)
    }
}

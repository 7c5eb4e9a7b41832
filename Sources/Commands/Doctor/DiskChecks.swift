// The data folder's disk: its file system, room, and how fast it gives what was just written to it (a file of some
// megabytes without a name, gone at once).
import CLinux
import Glibc
import Syscall

enum DiskChecks {
    static func room(_ folder: FolderFacts) -> Check {
        var info = statvfs()
        guard statvfs(folder.nearest, &info) == 0 else {
            return .problem(
                "disk", "\(folder.nearest): \(Trial.reason(errno))", "choose another data folder (--data)")
        }
        let type = folder.fileSystem ?? "unknown file system"
        let free = Int(clamping: UInt64(info.f_bavail) &* UInt64(info.f_frsize))
        let found = "\(type), \(Human.bytes(free)) free"
        if info.f_flag & UInt(ST_RDONLY) != 0 {
            return .problem(
                "disk", "\(found), read-only", "nothing can be deployed there: mount it writable, or choose --data")
        }
        var advice: [String] = []
        if ["tmpfs", "ramfs"].contains(type) {
            advice.append(
                "it is memory: models are gone after a restart and count twice; put the data folder on a disk")
        } else if type == "overlay" {
            advice.append("it goes with its container: give the data folder a volume of its own")
        } else if ["nfs", "nfs4", "cifs", "smb3", "9p"].contains(type) || type.hasPrefix("fuse") {
            advice.append("the registry's locks and cold experts are better off on a local disk")
        }
        if free < 1 << 30 { advice.append("a model takes about as much as its file: free some room, or choose --data") }
        return advice.isEmpty ? .ok("disk", found) : .note("disk", found, advice.joined(separator: ". "))
    }

    static func speed(_ folder: FolderFacts) -> Check {
        guard let speed = measured(folder) else {
            return .ok("disk_speed", "not measured: \(folder.nearest) cannot be written, or is nearly full")
        }
        let found = "\(Human.bytes(Int(speed)))/s, of \(Human.bytes(scratch)) just written"
        guard speed < 200e6 else { return .ok("disk_speed", found) }
        return .note(
            "disk_speed", found,
            "an expert of 5 MiB that is not in memory takes \(Human.fixed(5 * 1_048_576 / speed * 1000, 0)) ms to come: give "
                + "`locum up` memory for the whole model, or a faster disk; `locum plan` reckons with it")
    }

    private static let scratch = 64 << 20
    /// Of writing it.
    private static let longest: UInt64 = 3_000_000_000

    private static func measured(_ folder: FolderFacts) -> Double? {
        var info = statvfs()
        guard folder.isUsable, statvfs(folder.nearest, &info) == 0,
            UInt64(info.f_bavail) &* UInt64(info.f_frsize) > UInt64(8 * scratch)
        else { return nil }
        var name = Array("\(folder.nearest)/.locum-doctor-XXXXXX".utf8CString)
        let raw = mkstemp(&name)
        guard raw >= 0 else { return nil }
        let file = Descriptor(owning: raw)
        unlink(name)
        // Of random bytes, which no disk can make smaller.
        var piece = [UInt8](repeating: 0, count: 1 << 20)
        guard locum_random(&piece, piece.count) == 0 else { return nil }
        let begun = locum_monotonic_ns()
        for turn in 0..<UInt8(scratch >> 20) {
            piece[0] = turn
            guard write(file.raw, piece, piece.count) == piece.count, locum_monotonic_ns() - begun < longest else {
                break
            }
        }
        guard fsync(file.raw) == 0 else { return nil }
        return DiskProbe.measured(["/proc/self/fd/\(file.raw)"])
    }
}

// The data folder as `locum up` would meet it. It need not exist: then the nearest folder above it counts, where it
// would be made. Nothing is made here.
import Glibc

/// A place for data.
struct FolderFacts {
    let path: String
    /// The folder itself, or the nearest one above it that is there.
    let nearest: String
    /// Of `nearest`.
    let info: stat

    init(_ path: String) {
        self.path = path
        var info = stat()
        var at = path
        while stat(at, &info) != 0, at != "/" {
            guard let slash = at.lastIndex(of: "/") else { break }
            at = slash == at.startIndex ? "/" : String(at[..<slash])
        }
        (nearest, self.info) = (at, info)
    }

    var exists: Bool { nearest == path }
    var isFolder: Bool { info.st_mode & S_IFMT == S_IFDIR }
    /// Files can be made in it.
    var isUsable: Bool { access(nearest, R_OK | W_OK | X_OK) == 0 }
    var mode: String { String(info.st_mode & 0o7777, radix: 8) }

    /// The type of its file system, by the mount that lies nearest above it; nil when the kernel does not say.
    var fileSystem: String? {
        var best: (point: String, type: String)?
        let real = DataFolder.real(nearest)
        for line in (HostFile.text("/proc/self/mountinfo") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count > 4, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else { continue }
            let point = fields[4]
            guard point == "/" || real == point || real.hasPrefix(point + "/") else { continue }
            // Of several on one point the last one mounted is seen.
            if point.utf8.count >= best?.point.utf8.count ?? 0 { best = (point, fields[dash + 1]) }
        }
        return best?.type
    }
}

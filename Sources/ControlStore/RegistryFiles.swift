// The files of a registry beside its own: what a repair reads from, what it makes, and what it leaves of the damaged
// one.
import Glibc

enum RegistryFiles {
    /// SQLite's own, by what they add to the name.
    static let parts = ["", "-wal", "-shm"]

    /// Bytes of a file; 0 when there is none.
    static func size(_ path: String) -> Int {
        var information = stat()
        return stat(path, &information) == 0 ? Int(information.st_size) : 0
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The newest registry that a repair has set aside.
    static func damaged(_ path: String) -> String? {
        var found: String?
        for number in 1... {
            guard exists(damaged(path, number)) else { return found }
            found = damaged(path, number)
        }
        return found
    }

    /// A name for the next.
    static func nextDamaged(_ path: String) -> String {
        var number = 1
        while exists(damaged(path, number)) { number += 1 }
        return damaged(path, number)
    }

    private static func damaged(_ path: String, _ number: Int) -> String { "\(path).damaged-\(number)" }

    static func remove(_ path: String) {
        for part in parts { unlink(path + part) }
        unlink(SQLiteRegistry.reservePath(path))
    }

    /// - Throws: `StoreError` `io`.
    static func copy(_ from: String, to target: String) throws(StoreError) {
        let source = open(from, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw failed("read", from) }
        defer { close(source) }
        let file = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failed("make", target) }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 256 << 10)
        while true {
            let got = read(source, &bytes, bytes.count)
            guard got >= 0 else { throw failed("read", from) }
            if got == 0 { return }
            guard write(file, bytes, got) == got else { throw failed("write", target) }
        }
    }

    static func move(_ from: String, to target: String) throws(StoreError) {
        guard rename(from, target) == 0 else { throw failed("rename \(from) to", target) }
    }

    /// Makes what was renamed in the folder of `path` last.
    static func sync(folderOf path: String) throws(StoreError) {
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0 else { throw failed("open", folder) }
        defer { close(opened) }
        guard fsync(opened) == 0 else { throw failed("sync", folder) }
    }

    private static func failed(_ what: String, _ path: String) -> StoreError {
        StoreError(code: "io", message: "cannot \(what) \(path): \(String(cString: strerror(errno)))")
    }
}

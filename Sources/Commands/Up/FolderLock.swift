// One `locum up` per data folder. The lock is the kernel's (flock), so it goes with its holder however that
// ends; the pid inside is for the message only.
import Glibc
import Syscall

/// The lock on a data folder, held while this object lives.
struct FolderLock {
    private let file: Descriptor

    struct Held: Error, CustomStringConvertible {
        let folder: String
        let pid: String
        var description: String {
            "the data folder \(folder) is in use by another `locum up` (process \(pid)). Stop that one, or give "
                + "this one a folder of its own with --data."
        }
    }

    /// Makes the folder if needed and locks it.
    static func take(_ folder: String) throws -> FolderLock {
        try makeFolder(folder)
        let path = folder + "/lock"
        let file = Descriptor(owning: try check(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600), "open \(path)"))
        if flock(file.raw, LOCK_EX | LOCK_NB) < 0 {
            guard errno == EWOULDBLOCK else { throw SyscallError(stage: "lock \(path)") }
            var bytes = [UInt8](repeating: 0, count: 32)
            let n = read(file.raw, &bytes, bytes.count)
            let pid = String(decoding: bytes.prefix(max(0, n)), as: UTF8.self).filter(\.isNumber)
            throw Held(folder: folder, pid: pid.isEmpty ? "unknown" : pid)
        }
        let text = Array("\(getpid())\n".utf8)
        try check(ftruncate(file.raw, 0), "write \(path)")
        try check(write(file.raw, text, text.count), "write \(path)")
        return FolderLock(file: file)
    }

    /// mkdir -p with mode 0700 for what is made.
    private static func makeFolder(_ folder: String) throws {
        var path = ""
        for part in folder.split(separator: "/") {
            path += "/" + part
            if mkdir(path, 0o700) < 0, errno != EEXIST, errno != EISDIR, errno != EROFS {
                throw SyscallError(stage: "make the data folder \(path)")
            }
        }
        try check(access(folder, R_OK | W_OK | X_OK), "use the data folder \(folder)")
    }
}

// The data folder and who holds it. The lock is taken before anything in it is touched: two nodes on one
// store would remove each other's files. A predecessor that is just dying is waited for, a living one named.
import CLinux
import Glibc
import Syscall

/// Paths in the data folder, and its lock.
final class DataFolder {
    let path: String
    private let run: String
    private let lock: Descriptor

    var controlSocket: String { "\(run)/node.sock" }
    var invokeSocket: String { "\(run)/invoke.sock" }
    var shards: String { "\(path)/shards" }
    var temporary: String { "\(path)/tmp" }

    /// Makes the folder if needed (mode 0700) and takes its lock.
    /// - Parameter run: folder of the sockets; nil: `run` in it.
    /// - Throws: `NodeAgentError` `locked` when another node holds it for more than `patience` nanoseconds.
    init(_ path: String, run: String? = nil, patience: UInt64 = .seconds(5)) throws(NodeAgentError) {
        (self.path, self.run) = (path, run ?? "\(path)/run")
        do throws(SyscallError) {
            try Self.makeFolders(path)
            try Self.makeFolders(self.run)
            let file = "\(path)/node.lock"
            let raw = try check(open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600), "open the lock \(file)")
            lock = Descriptor(owning: raw)
        } catch {
            throw NodeAgentError(code: "data_folder", message: "\(error); choose another data folder (--data)")
        }
        let deadline = monotonic() + patience
        while flock(lock.raw, LOCK_EX | LOCK_NB) < 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, monotonic() < deadline else {
                let text = ProcessFacts.read("\(path)/node.lock", atMost: 32)
                let holder = text.split(whereSeparator: \.isWhitespace).first
                throw NodeAgentError(
                    code: "locked",
                    message: "the data folder \(path) is held by another locum-node"
                        + (holder.map { " (process \($0))" } ?? "") + "; end it first, or choose another one (--data)")
            }
            usleep(50_000)
        }
        let text = Array("\(getpid())\n".utf8)
        ftruncate(lock.raw, 0)
        pwrite(lock.raw, text, text.count, 0)
    }

    /// Tells folders apart that have the same name in different places: device and inode.
    var identity: String {
        var info = stat()
        guard stat(path, &info) == 0 else { return "unknown" }
        return "\(info.st_dev)-\(info.st_ino)"
    }

    /// Makes a folder with the missing ones above it.
    private static func makeFolders(_ path: String) throws(SyscallError) {
        var at = path.startIndex
        while let slash = path[at...].dropFirst().firstIndex(of: "/") {
            // Those above are made if they are missing; whether that worked, the last one tells.
            mkdir(String(path[..<slash]), 0o700)
            at = slash
        }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SyscallError(stage: "make folder \(path)") }
    }
}

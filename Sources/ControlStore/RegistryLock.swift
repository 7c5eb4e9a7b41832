// SQLite lets a second process in, and two controls on one registry would each believe themselves alone. So
// control holds a lock of its own beside it: flock, which the kernel lets go when the process dies however it
// dies, close-on-exec so that no child keeps it, and with the holder's pid inside for the message.
import Glibc

/// The exclusive right to a data folder's registry, as long as it lives.
public final class RegistryLock: Sendable {
    private let descriptor: Int32

    /// - Parameter patience: how long to wait for a predecessor that is just ending.
    /// - Throws: `StoreError` `locked`, naming the holder, or `io`.
    public init(path: String, patience: Duration = .seconds(5)) throws(StoreError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StoreError(
                code: "io", message: "cannot open the lock file \(path): \(String(cString: strerror(errno)))")
        }
        let deadline = ContinuousClock.now + patience
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                let reason = String(cString: strerror(errno))
                close(descriptor)
                throw StoreError(code: "io", message: "cannot lock \(path): \(reason)")
            }
            guard ContinuousClock.now < deadline else {
                let holder = Self.holder(descriptor)
                close(descriptor)
                throw StoreError(
                    code: "locked",
                    message: "another locum-control\(holder) holds \(path); end it, or use another data folder")
            }
            usleep(20_000)
        }
        let text = Array("\(getpid())\n".utf8)
        ftruncate(descriptor, 0)
        _ = pwrite(descriptor, text, text.count, 0)
    }

    deinit { close(descriptor) }

    private static func holder(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let got = pread(descriptor, &bytes, bytes.count, 0)
        guard got > 0, let pid = Int(String(decoding: bytes.prefix(got).prefix { $0 != 10 }, as: UTF8.self)) else {
            return ""
        }
        return " (process \(pid))"
    }
}

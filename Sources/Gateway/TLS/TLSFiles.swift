// The certificate that new connections get, from files that may change while the daemon runs. Connections under way keep the
// one that they began with. Files that are wrong change nothing: what was read before goes on serving, and the log says why.
import Glibc
public import Logging
import NIOSSL
import Synchronization

/// TLS files of a listener.
public final class TLSFiles: Sendable {
    /// What a file's replacement changes.
    private struct Mark: Equatable {
        var device: UInt, inode: UInt, size: Int, seconds: Int, nanoseconds: Int

        /// nil: there is no such file, or it cannot be looked at.
        init?(_ path: String) {
            var information = stat()
            guard stat(path, &information) == 0 else { return nil }
            (device, inode, size) = (UInt(information.st_dev), UInt(information.st_ino), Int(information.st_size))
            (seconds, nanoseconds) = (Int(information.st_mtim.tv_sec), Int(information.st_mtim.tv_nsec))
        }
    }

    private struct State {
        var certificate: String
        var key: String
        var pair: TLSPair
        /// As the files were when they were last read.
        var read: [Mark?]
        /// As they were at the last look, if that was different: one of them may be written yet.
        var changed: [Mark?]?

        var marks: [Mark?] { [Mark(certificate), Mark(key)] }
    }

    private let state: Mutex<State>
    private let logger: Logger
    /// Between two looks. What has changed is read when it is the same at the next one.
    private static let pause = Duration.seconds(2)

    /// - Throws: `TLSError`.
    public init(certificate: String, key: String, logger: Logger) throws(TLSError) {
        let marks = [Mark(certificate), Mark(key)]
        let pair = try TLSPair.read(certificate: certificate, key: key)
        if pair.isExpired { logger.error("\(certificate) has expired on \(pair.expiry); put a new one in its place") }
        state = Mutex(State(certificate: certificate, key: key, pair: pair, read: marks))
        self.logger = logger
    }

    /// For a new connection.
    var context: NIOSSLContext { state.withLock { $0.pair.context } }

    /// Reads the files again when they have changed, until the task is cancelled.
    public func watch() async {
        while (try? await Task.sleep(for: Self.pause)) != nil {
            let isDue = state.withLock { state in
                let marks = state.marks
                defer { state.changed = marks == state.read ? nil : marks }
                return marks != state.read && marks == state.changed
            }
            if isDue { reload() }
        }
    }

    /// From now on these files are used, if they can be; else what was read before, until they can.
    public func change(certificate: String, key: String) {
        state.withLock { ($0.certificate, $0.key) = (certificate, key) }
        reload()
    }

    private func reload() {
        let (certificate, key) = state.withLock { state in
            (state.read, state.changed) = (state.marks, nil)
            return (state.certificate, state.key)
        }
        do throws(TLSError) {
            let pair = try TLSPair.read(certificate: certificate, key: key)
            try state.withLock { state throws(TLSError) in
                guard !pair.isExpired || state.pair.isExpired else {
                    throw TLSError(description: "\(certificate) has expired on \(pair.expiry)")
                }
                state.pair = pair
            }
            logger.notice("\(certificate) was read again; it is valid until \(pair.expiry)")
        } catch {
            logger.error("\(error); new connections get the certificate that was read before")
        }
    }
}

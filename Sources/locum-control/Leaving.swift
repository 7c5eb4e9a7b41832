// How control ends: on SIGTERM, SIGINT or the lifeline's end of file. The main thread waits for them and does nothing
// else: one that ran Swift's main queue would sleep in sigsuspend, which unblocks every signal, and a signal would end
// the process before anything could be put in order.
import CLinux
import Glibc
import Synchronization
import Syscall
import Systemd

struct Leaving {
    /// What has to be done before leaving; set once there is something to do.
    static let last = Mutex<(@Sendable () -> Void)?>(nil)

    private let signals: Int32
    private let lifeline: Int32
    private let socket: String?
    private let notifier: Notifier

    /// Must be made before other threads exist: they inherit the blocked signals.
    /// - Parameter socket: the socket file to remove.
    init(lifeline: Int32, socket: String?, notifier: Notifier) {
        let numbers: [Int32] = [SIGTERM, SIGINT, SIGHUP]
        signals = locum_signal_descriptor(numbers, Int32(numbers.count))
        (self.lifeline, self.socket, self.notifier) = (lifeline, socket, notifier)
    }

    /// Waits for the end, and leaves.
    func wait() -> Never {
        var watched = [
            pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
            pollfd(fd: lifeline, events: Int16(POLLIN), revents: 0),
        ]
        while poll(&watched, nfds_t(watched.count), -1) < 1 {}
        notifier.stopping()
        if let socket { _ = UnixSocket.withShortPath(socket) { unlink($0) } }
        Self.last.withLock { $0 }?()
        _exit(0)
    }
}

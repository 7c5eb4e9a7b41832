// How control ends: on SIGTERM or SIGINT, when the requests under way have been answered or their time is up; at once on the next
// signal or on the lifeline's end of file. SIGHUP makes it read its settings again. The main thread waits for that and does nothing else: one that ran Swift's main
// queue would sleep in sigsuspend, which unblocks every signal, and a signal would end the process before anything could be
// put in order.
import CLinux
import Glibc
import Synchronization
import Syscall
import Systemd

struct Leaving {
    /// What has to be done before leaving; set once there is something to do.
    static let last = Mutex<(@Sendable () -> Void)?>(nil)
    /// Lets no more requests in and says how many are under way; set once there can be any.
    static let closing = Mutex<(@Sendable () -> Int)?>(nil)
    /// Milliseconds that requests under way have.
    static let drain = Mutex(0)

    private enum Reload {
        case none
        /// Told to, before there was anything to do it with.
        case due
        case ready(@Sendable () -> Void)
    }
    private static let reload = Mutex(Reload.none)

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

    /// Calls `body` on each SIGHUP from the start of this process on.
    static func onReload(_ body: @escaping @Sendable () -> Void) {
        let isDue = reload.withLock { reload in
            defer { reload = .ready(body) }
            if case .due = reload { return true }
            return false
        }
        if isDue { body() }
    }

    /// Waits for the end, and leaves.
    func wait() -> Never {
        while !isToldToEnd(within: -1) {}
        notifier.stopping()
        let drain = Self.drain.withLock { $0 }
        let end = locum_monotonic_ns() + UInt64(drain) * 1_000_000
        while let left = Self.closing.withLock({ $0 })?(), drain > 0, locum_monotonic_ns() < end {
            if left > 0 { notifier.status("ending, requests still to answer: \(left)") }
            // The last answer may be on its way to its socket still.
            if isToldToEnd(within: 200) || left == 0 { break }
        }
        if let socket { _ = UnixSocket.withShortPath(socket) { unlink($0) } }
        Self.last.withLock { $0 }?()
        _exit(0)
    }

    /// Waits so many milliseconds (-1: for ever) for a signal, which is taken, or for the lifeline's end of file.
    private func isToldToEnd(within milliseconds: Int32) -> Bool {
        var watched = [
            pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
            pollfd(fd: lifeline, events: Int16(POLLIN), revents: 0),
        ]
        var found: Int32
        repeat { found = poll(&watched, nfds_t(watched.count), milliseconds) } while found < 0
        guard watched[0].revents != 0, locum_signal_read(signals) == SIGHUP else { return found > 0 }
        let body = Self.reload.withLock { reload -> (@Sendable () -> Void)? in
            if case .ready(let body) = reload { return body }
            reload = .due
            return nil
        }
        body?()
        return watched[1].revents != 0
    }
}

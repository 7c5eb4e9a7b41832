// How control ends: on a signal, when the requests under way have been answered or their time is up; at once on the next
// signal or on the lifeline's end of file. The main thread waits for that and does nothing else: one that ran Swift's main
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

    private let signals: Int32
    private let lifeline: Int32
    private let socket: String?
    private let notifier: Notifier
    private let drain: Int

    /// Must be made before other threads exist: they inherit the blocked signals.
    /// - Parameters:
    ///   - socket: the socket file to remove.
    ///   - drain: milliseconds that requests under way have.
    init(lifeline: Int32, socket: String?, notifier: Notifier, drain: Int) {
        let numbers: [Int32] = [SIGTERM, SIGINT, SIGHUP]
        signals = locum_signal_descriptor(numbers, Int32(numbers.count))
        (self.lifeline, self.socket, self.notifier, self.drain) = (lifeline, socket, notifier, drain)
    }

    /// Waits for the end, and leaves.
    func wait() -> Never {
        _ = isToldToEnd(within: -1)
        notifier.stopping()
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
        if watched[0].revents != 0 {
            var signal = [UInt8](repeating: 0, count: 128)
            _ = read(signals, &signal, signal.count)
        }
        return found > 0
    }
}

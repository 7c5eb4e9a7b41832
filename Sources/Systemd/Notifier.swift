// What the service manager hears of a daemon (sd_notify(3)). Without NOTIFY_SOCKET, as under `locum up`, nobody listens
// and nothing is sent.
import CSystemd
import Glibc

/// The way to the service manager.
public struct Notifier: Sendable {
    /// Somebody listens.
    public let isHeard: Bool
    /// Nanoseconds between two signs of life: half of what the manager waits for. nil when it waits for none.
    public let watchdogPause: UInt64?

    public init() {
        isHeard = getenv("NOTIFY_SOCKET") != nil
        var microseconds: UInt64 = 0
        watchdogPause = sd_watchdog_enabled(0, &microseconds) > 0 ? microseconds &* 500 : nil
    }

    /// It serves, from now on or again.
    public func ready() { send("READY=1") }

    /// It has begun to read its settings again; `ready` follows.
    public func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        send("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)")
    }

    /// It has begun to end.
    public func stopping() { send("STOPPING=1\nSTATUS=ending") }

    /// How it is, in words for `systemctl status`.
    public func status(_ words: String) {
        // A line is an assignment of its own.
        send("STATUS=" + String(words.map { $0.isNewline ? " " : $0 }))
    }

    fileprivate func alive() { send("WATCHDOG=1") }

    private func send(_ assignments: String) {
        if isHeard { sd_notify(0, assignments) }
    }
}

/// Signs of life of a main loop, and its state in words when that has changed. The loop's owner calls `beat` from the
/// loop itself, so that a loop that hangs is not heard of.
public struct Heartbeat: Sendable {
    private static let slow: UInt64 = 10_000_000_000

    private let notifier: Notifier
    private var said = ""

    public init(_ notifier: Notifier) { self.notifier = notifier }

    /// Nanoseconds from one beat to the next; nil when nobody listens.
    public var pause: UInt64? {
        guard notifier.isHeard else { return nil }
        return min(notifier.watchdogPause ?? Self.slow, Self.slow)
    }

    /// The loop turns. Nothing is sent that the manager did not ask for or knows already.
    public mutating func beat(_ status: String) {
        if notifier.watchdogPause != nil { notifier.alive() }
        guard status != said else { return }
        said = status
        notifier.status(status)
    }
}

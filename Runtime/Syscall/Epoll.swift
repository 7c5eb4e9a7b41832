// Waiting for several descriptors at once. Tokens are the caller's own numbers.
import CLinux

/// An epoll set.
public final class Epoll: Sendable {
    public struct Interest: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let readable = Interest(rawValue: LOCUM_IN)
        public static let writable = Interest(rawValue: LOCUM_OUT)
        /// Reported without being asked for.
        public static let failed = Interest(rawValue: LOCUM_ERR)
        /// Reported without being asked for: the peer is gone.
        public static let hungUp = Interest(rawValue: LOCUM_HUP)
    }

    public struct Event: Sendable {
        public let token: UInt64
        public let ready: Interest
    }

    public let descriptor: Descriptor

    public init() throws(SyscallError) {
        descriptor = Descriptor(owning: try check(locum_epoll_create(), "make an epoll set"))
    }

    public func add(_ fd: Int32, token: UInt64, _ interest: Interest = .readable) throws(SyscallError) {
        try check(locum_epoll_add(descriptor.raw, fd, interest.rawValue, token), "watch descriptor \(fd)")
    }

    public func modify(_ fd: Int32, token: UInt64, _ interest: Interest) throws(SyscallError) {
        try check(locum_epoll_modify(descriptor.raw, fd, interest.rawValue, token), "watch descriptor \(fd)")
    }

    /// Stops watching. A descriptor that is closed everywhere needs no removal.
    public func remove(_ fd: Int32) { _ = locum_epoll_remove(descriptor.raw, fd) }

    /// Up to 64 events; none after `timeoutMilliseconds` (-1: wait for ever) or a signal.
    public func wait(timeoutMilliseconds: Int32 = -1) throws(SyscallError) -> [Event] {
        try withUnsafeTemporaryAllocation(of: locum_event.self, capacity: 64) { buffer throws(SyscallError) in
            let n = try check(
                locum_epoll_wait(descriptor.raw, buffer.baseAddress, 64, timeoutMilliseconds), "wait for events")
            return (0..<Int(n)).map { Event(token: buffer[$0].token, ready: Interest(rawValue: buffer[$0].events)) }
        }
    }
}

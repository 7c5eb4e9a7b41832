// An open file descriptor with one owner. A class rather than a noncopyable struct because descriptors
// live in arrays and dictionaries here; the owner is still single by convention, and the number is closed
// exactly once.
import CLinux
import Glibc

/// An owned file descriptor, closed when the last reference goes.
public final class Descriptor: Sendable {
    /// The number, valid while this object lives.
    public let raw: Int32

    /// Takes over an open descriptor.
    public init(owning raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// A second descriptor of the same open file, for one who must keep it past this object's life.
    public func duplicate() throws(SyscallError) -> Descriptor {
        Descriptor(owning: try check(fcntl(raw, F_DUPFD_CLOEXEC, 3), "duplicate descriptor \(raw)"))
    }

    public func setNonblocking(_ on: Bool) throws(SyscallError) {
        try check(locum_set_nonblocking(raw, on), "set O_NONBLOCK on descriptor \(raw)")
    }
}

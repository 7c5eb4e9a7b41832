// A failed kernel call, named by the stage that made it, so that a message says what Locum was doing and
// not only what the kernel answered.
public import Glibc

/// A system call that failed: what was being done (`stage`), on what, and the kernel's answer.
public struct SyscallError: Error, Sendable, CustomStringConvertible {
    /// What was being done, for example `bind /run/locum/invoke.sock`.
    public let stage: String
    /// The kernel's error number.
    public let errno: Int32

    /// - Parameter errno: the kernel's answer; the calling thread's `errno` when left out.
    public init(stage: String, errno: Int32 = Glibc.errno) {
        self.stage = stage
        self.errno = errno
    }

    /// A socket's other end was closed; what it said before can still be received.
    public var peerIsGone: Bool { [EPIPE, ECONNRESET, ECONNREFUSED].contains(errno) }

    /// The kernel's words for the error number.
    public var reason: String { String(cString: strerror(errno)) }
    public var description: String { "\(stage): \(reason)" }
}

/// Runs a call that answers -1 on failure.
/// - Throws: `SyscallError` with the stage given.
@inlinable
@discardableResult
public func check<T: SignedInteger>(_ result: T, _ stage: @autoclosure () -> String) throws(SyscallError) -> T {
    if result < 0 {
        let number = errno
        throw SyscallError(stage: stage(), errno: number)
    }
    return result
}

// Threads for blocking work: Swift's pool has a thread per core and must not block.
import CLinux
import Glibc

/// Threads that nobody joins.
public enum DetachedThread {
    private final class Job {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs `body` on a new thread that ends with it.
    /// - Parameter stack: bytes of stack; only what is touched costs memory.
    /// - Throws: `SyscallError` when no thread can be had; `body` has not run then.
    public static func start(stack: Int = 256 << 10, _ body: @escaping @Sendable () -> Void) throws(SyscallError) {
        let job = Unmanaged.passRetained(Job(body))
        let started = locum_thread_start(
            { raw in
                if let raw { Unmanaged<Job>.fromOpaque(raw).takeRetainedValue().body() }
            }, job.toOpaque(), stack)
        guard started == 0 else {
            let number = errno
            job.release()
            throw SyscallError(stage: "start a thread", errno: number)
        }
    }
}

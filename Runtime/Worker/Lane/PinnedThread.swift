// A thread on a CPU of its own. Starting returns when the thread has placed itself, since after the sandbox is
// sealed neither clone nor sched_setaffinity is allowed.
import CLinux
import Glibc
import Syscall

/// Starting threads that never end but with the process (or when their body returns, in tests).
enum PinnedThread {
    /// Stack of a lane: reserved; an idle lane touches two pages of it.
    static let laneStack = 64 << 10
    /// Stack of a router's compute thread.
    static let computeStack = 256 << 10

    private final class Start: @unchecked Sendable {
        let cpu: UInt32
        let name: String
        let body: () -> Void
        /// 0: not yet; 1: placed; otherwise 2 + errno.
        let state = FutexWord()

        init(_ cpu: UInt32, _ name: String, _ body: @escaping () -> Void) {
            (self.cpu, self.name, self.body) = (cpu, name, body)
        }
    }

    /// Runs `body` on a new thread pinned to `cpu`, and waits until it is in place.
    /// - Throws: `SyscallError` when the thread cannot be made or may not run there.
    static func start(cpu: UInt32, stack: Int, name: String, _ body: @escaping () -> Void) throws(SyscallError) {
        let start = Start(cpu, name, body)
        let raw = Unmanaged.passRetained(start).toOpaque()
        let made = locum_thread_start(
            { raw in
                guard let raw else { return }
                let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
                locum_set_thread_name(start.name)
                let pinned = locum_pin_to_cpu(Int32(start.cpu))
                start.state.store(pinned < 0 ? 2 + UInt32(errno) : 1)
                start.state.wake()
                if pinned >= 0 { start.body() }
            }, raw, stack)
        if made < 0 {
            let number = errno
            Unmanaged<Start>.fromOpaque(raw).release()
            throw SyscallError(stage: "start thread \(name)", errno: number)
        }
        while start.state.value == 0 { start.state.sleep(while: 0) }
        guard start.state.value == 1 else {
            throw SyscallError(stage: "pin thread \(name) to CPU \(cpu)", errno: Int32(start.state.value - 2))
        }
    }

    /// Pins the calling thread.
    static func pin(to cpu: UInt32) throws(SyscallError) {
        try check(locum_pin_to_cpu(Int32(cpu)), "pin this thread to CPU \(cpu)")
    }
}

// How control ends: on SIGTERM, SIGINT or the lifeline's end of file, from a thread that only waits for them.
import CLinux
import Glibc
import Syscall

enum Leaving {
    private struct Wait {
        let signals: Int32
        let lifeline: Int32
        let socket: String
    }

    /// Must be called before other threads exist: they inherit the blocked signals.
    static func watch(lifeline: Int32, socket: String) {
        let numbers: [Int32] = [SIGTERM, SIGINT, SIGHUP]
        let signals = locum_signal_descriptor(numbers, Int32(numbers.count))
        let wait = UnsafeMutablePointer<Wait>.allocate(capacity: 1)
        wait.initialize(to: Wait(signals: signals, lifeline: lifeline, socket: socket))
        let started = locum_thread_start(
            { raw in
                guard let wait = raw?.assumingMemoryBound(to: Wait.self).pointee else { return }
                var watched = [
                    pollfd(fd: wait.signals, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: wait.lifeline, events: Int16(POLLIN), revents: 0),
                ]
                while poll(&watched, nfds_t(watched.count), -1) < 1 {}
                _ = try? UnixSocket.withShortPath(wait.socket) { (path: String) throws(SyscallError) in unlink(path) }
                _exit(0)
            }, wait, 256 << 10)
        if started != 0 { _exit(1) }
    }
}

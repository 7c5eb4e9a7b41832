// How control ends: on SIGTERM, SIGINT or the lifeline's end of file, from a thread that only waits for them.
import CLinux
import Glibc
import Syscall

enum Leaving {
    /// Must be called before other threads exist: they inherit the blocked signals.
    static func watch(lifeline: Int32, socket: String) {
        let numbers: [Int32] = [SIGTERM, SIGINT, SIGHUP]
        let signals = locum_signal_descriptor(numbers, Int32(numbers.count))
        do throws(SyscallError) {
            try DetachedThread.start {
                var watched = [
                    pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: lifeline, events: Int16(POLLIN), revents: 0),
                ]
                while poll(&watched, nfds_t(watched.count), -1) < 1 {}
                _ = UnixSocket.withShortPath(socket) { unlink($0) }
                _exit(0)
            }
        } catch {
            _exit(1)
        }
    }
}

// A process that node itself started: the zygote or an import. Its pidfd becomes readable when it has ended,
// so its death is an event like any other and no signal handler is needed.
import CLinux
import Glibc
public import Syscall

/// A started child: its pid on this host, and a pidfd that cannot be confused with a later process.
public struct StartedProcess: Sendable {
    public let pid: Int32
    public let pidfd: Descriptor

    public init(pid: Int32, pidfd: Descriptor) { (self.pid, self.pidfd) = (pid, pidfd) }
}

/// How a process ended, from its wait status.
struct ExitReason: CustomStringConvertible {
    let status: Int32

    var signal: Int32 { status & 0x7f }
    var code: Int32 { status >> 8 & 0xff }

    var description: String {
        switch signal {
        case 0: "it exited with code \(code)"
        case SIGSYS: "it was killed by SIGSYS: it made a system call that its sandbox forbids"
        case SIGKILL: "it was killed (SIGKILL)"
        default: "it was killed by signal \(signal)"
        }
    }
}

/// A child in the loop.
final class ChildProcess {
    private enum State {
        case running(EventLoop.Token)
        case ended
    }

    let pid: Int32
    private let pidfd: Descriptor
    private let loop: EventLoop
    private var state = State.ended
    private let onExit: (ExitReason) -> Void

    /// Calls `onExit` once, after the process was reaped. Until then the loop holds it, whoever else has let go.
    init(
        _ loop: EventLoop, _ process: StartedProcess, onExit: @escaping (ExitReason) -> Void
    ) throws(SyscallError) {
        (pid, pidfd, self.loop, self.onExit) = (process.pid, process.pidfd, loop, onExit)
        state = .running(try loop.watch(pidfd.raw) { _ in self.reap() })
    }

    var isRunning: Bool {
        if case .running = state { true } else { false }
    }

    /// SIGKILL; for PID 1 of a namespace that ends everything in it.
    func kill() {
        if isRunning { _ = locum_pidfd_signal(pidfd.raw, SIGKILL) }
    }

    private func reap() {
        guard case .running(let token) = state else { return }
        var status: Int32 = 0
        let got = waitpid(pid, &status, WNOHANG)
        // ECHILD: the process is not ours to reap (a test's); it ended all the same.
        guard got == pid || (got < 0 && errno == ECHILD) else { return }
        state = .ended
        loop.unwatch(token, pidfd.raw)
        onExit(ExitReason(status: status))
    }
}

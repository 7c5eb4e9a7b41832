// Keeps one zygote alive, until it is retired. The zygote is PID 1 of the namespace all workers live in: when it ends, the kernel
// has ended them all before its pidfd tells. So its death is one event for node, "every instance is gone",
// and a new zygote starts after a pause that grows while it keeps dying.
import Glibc
import Syscall
import Wire

/// The zygote's life: started, in force, lost, started again.
final class ZygoteSupervisor {
    private enum State {
        case stopped
        /// Executed, not yet in its sandbox.
        case starting(ChildProcess, PacketChannel)
        case running(ChildProcess, PacketChannel, since: UInt64)
        /// Told to go or gone wrong: waiting for its end.
        case ending(ChildProcess)
        case pausing(EventLoop.Timer)
    }

    private enum Pause {
        static let shortest = UInt64.milliseconds(50)
        static let longest = UInt64.seconds(2)
        /// A zygote that lived this long starts again with the shortest pause.
        static let healthy = UInt64.seconds(10)
    }
    private static let startTimeout = UInt64.seconds(10)

    private let loop: EventLoop
    private let launch: (Descriptor) throws -> StartedProcess
    private var state = State.stopped
    private var pause = Pause.shortest
    private var timeout: EventLoop.Timer?
    private var stopping = false
    /// Another one forks now: when this one ends, that is all.
    private var isRetired = false
    private var lastWords = ""
    /// Ordered and not yet reported gone.
    var instances: Set<UInt64> = []
    /// Orders given while there is no zygote.
    private var waiting: [Packet] = []
    /// What of the sandbox is in force, as the zygote last said; nil before the first one started.
    private(set) var features: [Feature]?
    /// Pid of the zygote, for the cgroup: called before it may fork.
    var onLaunch: (Int32) -> Void = { _ in }
    var onStarted: () -> Void = {}
    /// A `spawned`, `failed` or `exited`.
    var onEvent: (ZygoteEvent, [Descriptor]) -> Void = { _, _ in }
    /// It ended, and with it all workers. The text says how.
    var onDeath: (String) -> Void = { _ in }
    /// It ended after `stop`, or there was none.
    var onStopped: () -> Void = {}

    init(_ loop: EventLoop, launch: @escaping (Descriptor) throws -> StartedProcess) {
        (self.loop, self.launch) = (loop, launch)
    }

    func start() {
        do {
            let (ours, theirs) = try Seqpacket.pair()
            let process = try launch(theirs)
            let child = try ChildProcess(loop, process) { [weak self] reason in
                guard let self else { return }
                ended("the zygote ended\(lastWords): \(reason)")
            }
            onLaunch(process.pid)
            let channel = try PacketChannel(
                loop, ours, onPacket: { [weak self] in self?.receive($0) },
                onEnd: { [weak self] in self?.lost($0) })
            state = .starting(child, channel)
            timeout = loop.after(Self.startTimeout) { [weak self] in self?.child?.kill() }
            let orders = waiting
            waiting = []
            for order in orders { channel.send(order.bytes, order.descriptors) }
        } catch {
            ended("the zygote could not be started: \(error)")
        }
    }

    /// Orders a fork; waits in line while there is no zygote.
    func send(_ command: ZygoteCommand, _ descriptors: [Descriptor]) {
        switch state {
        case .starting(_, let channel), .running(_, let channel, _): channel.send(command.frame, descriptors)
        case .pausing, .stopped, .ending: waiting.append(Packet(bytes: command.frame, descriptors: descriptors))
        }
    }

    /// Ends the zygote and all workers; `onStopped` follows.
    func stop() {
        stopping = true
        switch state {
        case .starting(let child, let channel), .running(let child, let channel, _):
            channel.close()
            child.kill()
            state = .ending(child)
        case .ending: break
        case .pausing(let timer):
            loop.cancel(timer)
            state = .stopped
            onStopped()
        case .stopped: onStopped()
        }
    }

    /// It forks no more and is not started again.
    func retire() { isRetired = true }

    var pid: Int32? { child?.pid }

    private var child: ChildProcess? {
        switch state {
        case .starting(let child, _), .running(let child, _, _), .ending(let child): child
        case .pausing, .stopped: nil
        }
    }

    private func receive(_ packet: Packet) {
        let event: ZygoteEvent
        do { event = try ZygoteEvent(frame: packet.bytes) } catch { return lost(.malformed("\(error)")) }
        // Instance 0 is no instance: the zygote says why it cannot go on, and ends.
        if case .failed(0, let stage, let errno) = event {
            lastWords = ": \(SyscallError(stage: stage, errno: errno))"
            return
        }
        guard case .started(let features) = event else { return onEvent(event, packet.descriptors) }
        guard case .starting(let child, let channel) = state else { return }
        loop.cancel(timeout)
        self.features = features
        state = .running(child, channel, since: monotonic())
        onStarted()
    }

    private func lost(_ end: PacketChannel.End) {
        guard let child else { return }
        switch state {
        case .starting(_, let channel), .running(_, let channel, _): channel.close()
        default: break
        }
        child.kill()
        if case .running(_, _, let since) = state, monotonic() &- since > Pause.healthy { pause = Pause.shortest }
        state = .ending(child)
    }

    private func ended(_ reason: String) {
        loop.cancel(timeout)
        if case .running(_, _, let since) = state, monotonic() &- since > Pause.healthy { pause = Pause.shortest }
        waiting = []
        lastWords = ""
        state = .stopped
        onDeath(reason)
        if stopping || isRetired { return onStopped() }
        state = .pausing(loop.after(pause) { [weak self] in self?.start() })
        pause = min(2 * pause, Pause.longest)
    }
}

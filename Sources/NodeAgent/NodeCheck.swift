// What a node finds on this host, by doing it: `locum-node --check`, which `locum doctor` asks. The zygote is started as
// always and forks one worker, whose shard is a page of zeroes. That it complains of its shard shows that every wall
// before it stands; a wall that cannot be put up is named in the same words as by a node that serves.
import CLinux
import Glibc
import Syscall
import Wire

/// A node's start without a data folder.
public enum NodeCheck {
    /// A step of the zygote or of the worker takes milliseconds.
    private static let patience: Int32 = 10_000

    /// - Parameter say: hears a fact's name and state: `budget` in bytes, `cgroup`, and the features that
    ///   `locum status` names.
    /// - Throws: `NodeAgentError` `sandbox` where no worker can be started.
    public static func run(_ launcher: Launcher, say: (String, String) -> Void) throws(NodeAgentError) {
        say("budget", "\(MemoryLimit.standard())")
        let (group, state) = Cgroup.make(name: "locum-check-\(getpid())")
        defer { group?.remove() }
        say("cgroup", state)
        let (process, channel) = try start(launcher)
        defer { end(process) }
        group?.take(process.pid)
        guard case .started(let features) = try event(channel) else { throw failure("the zygote said nonsense") }
        for feature in features { say(feature.name, feature.state) }
        try startWorker(channel)
    }

    private static func start(_ launcher: Launcher) throws(NodeAgentError) -> (StartedProcess, Descriptor) {
        do {
            let (ours, theirs) = try Seqpacket.pair()
            try check(locum_set_receive_timeout(ours.raw, patience), "limit the wait for the zygote")
            return (try launcher.zygote(theirs), ours)
        } catch {
            throw failure("the zygote could not be started: \(error)")
        }
    }

    private static func startWorker(_ zygote: Descriptor) throws(NodeAgentError) {
        let identity = WorkerIdentity(map: ProcessFacts.read("/proc/self/uid_map", atMost: 4096))
        let order = SpawnOrder(
            instance: 1, name: "check", runtime: .expert, cpus: [0], uid: identity.uid(for: 1), shardBytes: 4096,
            sequences: 0)
        let word: InvokeRequest
        do {
            let (ours, theirs) = try Seqpacket.pair()
            try check(locum_set_receive_timeout(ours.raw, patience), "limit the wait for the worker")
            let shard = try SharedMemory(name: "locum-check", count: 4096)
            let page = try SharedMemory(name: "locum-status", count: 4096)
            let command = ZygoteCommand.spawn(order)
            try Seqpacket.send(
                zygote.raw, command.frame, descriptors: [theirs.raw, shard.readable.raw, page.writable.raw])
            guard case .spawned = try event(zygote) else { throw failure("the zygote said nonsense of its worker") }
            guard let packet = try Seqpacket.receive(ours.raw) else { throw failure("the first worker said nothing") }
            word = try InvokeRequest(frame: packet.bytes)
        } catch let error as NodeAgentError {
            throw error
        } catch {
            throw failure("the first worker could not be started: \(error)")
        }
        if case .failed(let code, let message) = word, code == "sandbox" { throw failure(message) }
    }

    private static func event(_ channel: Descriptor) throws(NodeAgentError) -> ZygoteEvent {
        let event: ZygoteEvent
        do {
            guard let packet = try Seqpacket.receive(channel.raw) else { throw failure("the zygote ended") }
            event = try ZygoteEvent(frame: packet.bytes)
        } catch let error as NodeAgentError {
            throw error
        } catch {
            throw failure("the zygote could not be heard: \(error)")
        }
        guard case .failed(let instance, let stage, let errno) = event else { return event }
        let who = instance == 0 ? "the zygote could not close itself in" : "no worker can be forked"
        throw failure("\(who): \(SyscallError(stage: stage, errno: errno))")
    }

    /// The kernel ends with it what it forked.
    private static func end(_ process: StartedProcess) {
        _ = locum_pidfd_signal(process.pidfd.raw, SIGKILL)
        while waitpid(process.pid, nil, 0) < 0 && errno == EINTR {}
    }

    private static func failure(_ message: String) -> NodeAgentError {
        NodeAgentError(code: "sandbox", message: message)
    }
}

// The node's side of the probe: just enough of node to order workers and hear of them.
import CLinux
import CProbe
import ForkServer
import Glibc
import Sandbox
import Syscall
import Wire

/// Writes one line to standard output at once.
func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(1, bytes, bytes.count)
}

/// A worker that was ordered.
struct ProbeWorker {
    let instance: UInt64
    let channel: Descriptor
    let pidfd: Descriptor
}

/// A zygote of this program's own kind.
final class ProbeNode {
    let process: IsolatedProcess
    let features: [Feature]
    private let socket: Descriptor
    private let shard: Descriptor
    private let statusPage: Descriptor
    private var next: UInt64 = 1

    /// Filters are descriptors 4 and 5, as the test placed them.
    init() throws {
        let (ours, theirs) = try Seqpacket.pair()
        socket = ours
        shard = try SharedMemory(name: "shard", count: 4096).readable
        statusPage = try SharedMemory(name: "status", count: 4096).writable
        let program = Descriptor(owning: try check(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open this program"))
        process = try IsolatedProcess.start(
            executable: program.raw, arguments: ["locum-probe"],
            descriptors: [(theirs.raw, 3), (4, 4), (5, 5)])
        guard let packet = try Seqpacket.receive(ours.raw),
            case .started(let features) = try ZygoteEvent(frame: packet.bytes)
        else { throw SyscallError(stage: "hear the zygote start", errno: EPROTO) }
        self.features = features
    }

    private func event() throws -> (ZygoteEvent, [Descriptor]) {
        guard let packet = try Seqpacket.receive(socket.raw) else {
            throw SyscallError(stage: "hear the zygote", errno: EPIPE)
        }
        return (try ZygoteEvent(frame: packet.bytes), packet.descriptors)
    }

    func spawn(
        _ name: String, runtime: FunctionRuntime = .expert, lanes: Int = 1, sealed: Bool = true, uid: UInt32? = nil
    ) throws -> ProbeWorker {
        let instance = next
        next += 1
        let own = Sandbox.firstWorkerUser + UInt32(instance % 65536)
        let order = SpawnOrder(
            instance: instance, name: name, runtime: runtime, cpus: Array(repeating: 0, count: lanes),
            uid: uid ?? (IsolatedProcess.usesUserNamespace ? 0 : own), shardBytes: 4096, sequences: sealed ? 0 : 1)
        let (ours, theirs) = try Seqpacket.pair()
        try Seqpacket.send(
            socket.raw, ZygoteCommand.spawn(order).frame, descriptors: [theirs.raw, shard.raw, statusPage.raw])
        guard case (.spawned(instance), let descriptors) = try event(), let pidfd = descriptors.first else {
            throw SyscallError(stage: "spawn \(name)", errno: EPROTO)
        }
        return ProbeWorker(instance: instance, channel: ours, pidfd: pidfd)
    }

    /// Waits for the end of a worker: its wait status.
    func end(of worker: ProbeWorker) throws -> Int32 {
        guard case (.exited(worker.instance, let status), _) = try event() else {
            throw SyscallError(stage: "hear the end of \(worker.instance)", errno: EPROTO)
        }
        return status
    }
}

/// What the worker said, if it said something.
func word(of worker: ProbeWorker) throws -> String? {
    try Seqpacket.receive(worker.channel.raw).map { String(decoding: $0.bytes, as: UTF8.self) }
}

/// The worker's pid as this process sees it.
func hostPid(of worker: ProbeWorker) throws -> Int32 {
    let raw = try check(open("/proc/self/fdinfo/\(worker.pidfd.raw)", O_RDONLY | O_CLOEXEC), "look at a pidfd")
    let file = Descriptor(owning: raw)
    let line = withExtendedLifetime(file) { readAll(raw) }.split(separator: "\n").first { $0.hasPrefix("Pid:") }
    return line.flatMap { Int32($0.dropFirst(4).filter(\.isNumber)) } ?? -1
}

func readAll(_ descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 4096)
    while case let got = read(descriptor, &part, part.count), got > 0 { bytes += part[..<got] }
    return String(decoding: bytes, as: UTF8.self)
}

/// Bytes of private memory: dirty and swapped pages of /proc/PID/smaps_rollup, as an ordinary node reads it.
func privateBytes(_ pid: Int32) throws -> Int {
    let raw = try check(open("/proc/\(pid)/smaps_rollup", O_RDONLY | O_CLOEXEC), "open smaps_rollup of \(pid)")
    let file = Descriptor(owning: raw)
    let text = withExtendedLifetime(file) { readAll(raw) }
    return text.split(separator: "\n").reduce(0) { sum, line in
        guard line.hasPrefix("Private_Dirty:") || line.hasPrefix("Swap:") else { return sum }
        return sum + 1024 * (Int(line.filter(\.isNumber)) ?? 0)
    }
}

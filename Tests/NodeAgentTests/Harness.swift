// A real node on a real data folder with real sockets, and peers that are played by the test: the zygote (a
// sleeping process stands for it), workers, control and callers. Node's loop turns in the test's own thread,
// so a test sees every state in between and nothing depends on timing.
import CLinux
import Glibc
import ShardStore
import Syscall
import Testing
import Wire

@testable import NodeAgent

/// A process that does nothing, so that a pidfd and a kill are real.
final class Sleeper {
    let pid: pid_t
    private let handle: Descriptor

    init() throws {
        var pid: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("1000"), nil]
        defer { for argument in arguments { free(argument) } }
        try #require(posix_spawn(&pid, "/bin/sleep", nil, nil, &arguments, nil) == 0)
        self.pid = pid
        handle = Descriptor(owning: try check(locum_pidfd_open(pid), "open a pidfd"))
    }

    func pidfd() throws -> Descriptor { try handle.duplicate() }

    /// Through the pidfd: node may have reaped it, and the number may be somebody else's by now.
    func end(_ signal: Int32) { _ = locum_pidfd_signal(handle.raw, signal) }

    /// Whether it was killed, reaped by node or not.
    var hasEnded: Bool {
        var waiting = pollfd(fd: handle.raw, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, 0) == 1
    }

    deinit {
        end(SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }
}

/// A worker as the zygote would have forked it.
struct PlayedWorker {
    let order: SpawnOrder
    let channel: Descriptor
    let shard: Descriptor
    let status: Descriptor
    let process: Sleeper

    func send(_ request: InvokeRequest) throws { try Seqpacket.send(channel.raw, request.frame, wait: false) }
}

final class Harness {
    let path: String
    let loop: EventLoop
    let node: Node
    /// What launchers were given, newest last.
    var zygotes: [(process: Sleeper, channel: Descriptor)] { peers.zygotes }
    var importers: [(process: Sleeper, channel: Descriptor)] { peers.importers }
    private let peers = Peers()
    var log: [String] { peers.log }
    private var controlBytes: [UInt8] = []

    final class Peers {
        var zygotes: [(process: Sleeper, channel: Descriptor)] = []
        var importers: [(process: Sleeper, channel: Descriptor)] = []
        var log: [String] = []
    }

    init(zygoteForks: Int = 1000) throws {
        var template = Array("/tmp/locum-node-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        loop = try EventLoop()
        let peers = peers
        let launcher = Launcher(
            zygote: { channel in
                let process = try Sleeper()
                peers.zygotes.append((process, channel))
                return StartedProcess(pid: process.pid, pidfd: try process.pidfd())
            },
            importer: { channel in
                let process = try Sleeper()
                peers.importers.append((process, channel))
                return StartedProcess(pid: process.pid, pidfd: try process.pidfd())
            })
        var options = Node.Options(data: path)
        options.zygoteLimits.forks = zygoteForks
        node = try Node(
            options, loop: loop, launcher: launcher,
            log: { text, requests in
                peers.log.append((requests.map(\.text) + [text]).joined(separator: " "))
            })
    }

    deinit {
        for folder in ["run", "shards", "tmp"] {
            for name in files(folder) { unlink("\(path)/\(folder)/\(name)") }
            rmdir("\(path)/\(folder)")
        }
        unlink("\(path)/node.lock")
        rmdir(path)
    }

    /// Names in a folder of the data folder.
    func files(_ folder: String) -> [String] {
        guard let stream = opendir("\(path)/\(folder)") else { return [] }
        defer { closedir(stream) }
        var found: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { found.append(name) }
        }
        return found.sorted()
    }

    /// Puts bytes into the store, as if deployed; answers the digest.
    func store(_ bytes: [UInt8]) throws -> [UInt8] {
        let shard = try node.store.createTemporary(length: UInt64(bytes.count))
        pwrite(try #require(shard.writable).raw, bytes, bytes.count, 0)
        let hashing = try shard.seal()
        while true {
            guard let digest = try hashing.step() else { continue }
            _ = try node.store.commit(shard, as: digest)
            return digest.bytes
        }
    }

    // MARK: Turning

    /// Turns the loop until `find` finds something; fails after `seconds`.
    func until<T>(_ what: String, seconds: UInt64 = 5, _ find: () throws -> T?) throws -> T {
        let deadline = monotonic() + .seconds(seconds)
        while true {
            if let found = try find() { return found }
            guard monotonic() < deadline else { throw Missing(what: what) }
            try loop.turn(atMost: 5)
        }
    }

    struct Missing: Error { let what: String }

    /// Turns until nothing happens any more.
    func settle() throws { for _ in 0..<10 { try loop.turn(atMost: 1) } }

    /// The next message on a socket that the test plays; nil at its end.
    func next(_ socket: Descriptor, _ what: String) throws -> Packet? {
        try until(what) { () -> Packet?? in
            do throws(SyscallError) {
                let packet = try Seqpacket.receive(socket.raw, wait: false)
                // Where a worker's shard is belongs to its status page; who plays one need not look.
                if packet?.bytes == InvokeEvent.settle.frame { return nil }
                return .some(packet)
            } catch {
                guard error.errno == EAGAIN else { throw error }
                return nil
            }
        }
    }

    func isSilent(_ socket: Descriptor) throws -> Bool {
        try settle()
        do throws(SyscallError) {
            _ = try Seqpacket.receive(socket.raw, wait: false)
            return false
        } catch {
            return error.errno == EAGAIN
        }
    }

    // MARK: The zygote

    var zygote: Descriptor { get throws { try #require(peers.zygotes.last).channel } }

    func zygoteStarts() throws {
        let event = ZygoteEvent.started(features: [Feature(name: "seccomp", state: "played")])
        try Seqpacket.send(try zygote.raw, event.frame)
    }

    func order() throws -> PlayedWorker {
        let packet = try #require(try next(try zygote, "an order to the zygote"))
        guard case .spawn(let order) = try ZygoteCommand(frame: packet.bytes) else { throw Missing(what: "spawn") }
        try #require(packet.descriptors.count == 3)
        return PlayedWorker(
            order: order, channel: packet.descriptors[0], shard: packet.descriptors[1], status: packet.descriptors[2],
            process: try Sleeper())
    }

    func forked(_ worker: PlayedWorker, by zygote: Descriptor? = nil) throws {
        let zygote = try zygote ?? self.zygote
        let pidfd = try worker.process.pidfd()
        try withExtendedLifetime(pidfd) {
            try Seqpacket.send(
                zygote.raw, ZygoteEvent.spawned(instance: worker.order.instance).frame, descriptors: [pidfd.raw])
        }
    }

    func exited(_ worker: PlayedWorker, status: Int32, from zygote: Descriptor? = nil) throws {
        try Seqpacket.send(
            (try zygote ?? self.zygote).raw, ZygoteEvent.exited(instance: worker.order.instance, status: status).frame)
    }

    // MARK: Control

    func connectControl() throws -> Descriptor {
        controlBytes = []
        let socket = try UnixSocket.connect("\(path)/run/node.sock", kind: .stream)
        try socket.setNonblocking(true)
        return socket
    }

    /// A session that has been greeted.
    func greetedControl() throws -> Descriptor {
        try zygoteStarts()
        let control = try connectControl()
        guard case .hello = try event(control) else { throw Missing(what: "hello") }
        return control
    }

    func command(_ control: Descriptor, _ command: NodeCommand) throws {
        let frame = command.frame
        var bytes = [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: frame.count >> $0) }
        bytes += frame
        try #require(send(control.raw, bytes, bytes.count, 0) == bytes.count)
    }

    /// The next event, but for how the memory budget stands, which comes with others.
    func event(_ control: Descriptor) throws -> NodeEvent {
        while true {
            let event = try anyEvent(control)
            switch event {
            case .memory, .predictions: continue
            default: return event
            }
        }
    }

    func anyEvent(_ control: Descriptor) throws -> NodeEvent {
        try until("an event for control") {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let got = recv(control.raw, &buffer, buffer.count, LOCUM_MSG_DONTWAIT)
            if got > 0 { controlBytes += buffer.prefix(got) }
            guard controlBytes.count >= 4 else { return nil }
            let length = (0..<4).reduce(0) { $0 | Int(controlBytes[$1]) << ($1 * 8) }
            guard controlBytes.count >= 4 + length else { return nil }
            let frame = Array(controlBytes[4..<4 + length])
            controlBytes.removeFirst(4 + length)
            return try NodeEvent(frame: frame)
        }
    }

    // MARK: Callers

    func connectCaller() throws -> Descriptor {
        let socket = try UnixSocket.connect("\(path)/run/invoke.sock", kind: .seqpacket)
        try socket.setNonblocking(true)
        return socket
    }

    func request(_ caller: Descriptor, _ request: InvokeRequest, _ descriptors: [Int32] = []) throws {
        try Seqpacket.send(caller.raw, request.frame, descriptors: descriptors)
    }

    func answer(_ caller: Descriptor) throws -> (event: InvokeEvent, descriptors: [Descriptor]) {
        let packet = try #require(try next(caller, "an answer"), "node closed the connection")
        return (try InvokeEvent(frame: packet.bytes), packet.descriptors)
    }

    func failure(_ caller: Descriptor) throws -> (code: String, message: String) {
        guard case .failed(_, let code, let message) = try answer(caller).event else { throw Missing(what: "failed") }
        return (code, message)
    }

    /// An instance that is ready, started by control without a caller.
    func warmInstance(
        _ control: Descriptor, instance: UInt64 = 1, function: UInt64 = 10, name: String = "m/L00-E000",
        runtime: FunctionRuntime = .expert, lanes: UInt8 = 2, callees: [UInt64] = []
    ) throws -> PlayedWorker {
        let digest = try store(Array("shard \(name)".utf8))
        let spec = InstanceSpec(
            instance: instance, function: function, name: name, runtime: runtime, digest: digest, lanes: lanes,
            callees: callees)
        try command(control, .spawn(spec))
        let worker = try order()
        try forked(worker)
        try worker.send(.ready(width: 64, experts: runtime == .expert ? 1 : 0))
        guard case .ready = try event(control) else { throw Missing(what: "ready") }
        return worker
    }
}

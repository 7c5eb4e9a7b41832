// Node's part towards a router and its experts, played in this process: instances are threads that run the
// real worker code, links are real sockets and arenas. An instance is "killed" by shutting its sockets down.
import CLinux
import Foundation
import Glibc
import Link
import Syscall
import Wire

@testable import Worker

final class FakeNode: @unchecked Sendable {
    /// For the router.
    let connection: InvokeConnection
    private let model: NanoModel
    private let cpus: [UInt32]
    private let socket: Descriptor
    private let lock = NSLock()
    private var instances: [Int: Instance] = [:]
    private var nextLink: UInt64 = 1
    private var hasArena = false
    /// So many of the next instances are dead by the time their link arrives.
    var killsNext = 0
    /// Instances started since the beginning.
    private(set) var started = 0

    private struct Instance {
        let channel: Descriptor
        /// This process's second descriptors of the callee's ends, to be shut down.
        var lanes: [Descriptor] = []
        var links: [UInt64] = []
    }

    init(_ model: NanoModel, lanes: Int) throws {
        self.model = model
        cpus = Array(TestCPUs.all.prefix(lanes))
        let (near, far) = try Seqpacket.pair()
        connection = InvokeConnection(socket: near)
        socket = far
        let thread = Thread { [weak self] in
            while let packet = try? Seqpacket.receive(far.raw) {
                guard let node = self, let request = try? InvokeRequest(frame: packet.bytes) else { return }
                if case .acquire(let number, let callees, _) = request { try? node.grant(number, callees) }
            }
        }
        thread.start()
    }

    deinit { shutdown(socket.raw, Int32(SHUT_RDWR)) }

    /// Ends an instance as a crash does: all its sockets at once.
    func kill(_ function: Int) {
        lock.withLock {
            guard let instance = instances.removeValue(forKey: function) else { return }
            for lane in instance.lanes { shutdown(lane.raw, Int32(SHUT_RDWR)) }
            shutdown(instance.channel.raw, Int32(SHUT_RDWR))
        }
    }

    /// Has an instance leave, and tells the router.
    func drain(_ function: Int) throws {
        try lock.withLock {
            guard let instance = instances.removeValue(forKey: function) else { return }
            try Seqpacket.send(instance.channel.raw, InvokeEvent.drain.frame)
            try Seqpacket.send(socket.raw, InvokeEvent.revoked(links: instance.links).frame)
        }
    }

    var live: [Int] { lock.withLock { instances.keys.sorted() } }

    private func grant(_ request: UInt32, _ callees: [UInt32]) throws {
        for start in stride(from: 0, to: callees.count, by: 32) {
            let part = callees[start..<min(start + 32, callees.count)]
            var grants: [LinkGrant] = []
            var descriptors: [Descriptor] = []
            let arena = try SharedMemory(name: "request", count: Arena.requestBytes)
            let first = !hasArena
            if first { descriptors.append(arena.writable) }
            for (position, callee) in part.enumerated() {
                let (grant, own) = try link(Int(callee), position: start + position, arena)
                grants.append(grant)
                descriptors += own
            }
            hasArena = true
            let event = InvokeEvent.links(
                request: request, requestArena: first ? UInt64(arena.count) : 0, grants,
                last: start + 32 >= callees.count)
            if killsNext > 0 {
                killsNext -= 1
                for callee in part { kill(Int(callee)) }
            }
            try Seqpacket.send(socket.raw, event.frame, descriptors: descriptors.map(\.raw))
        }
    }

    private var arenaForCallees: SharedMemory?

    private func link(_ function: Int, position: Int, _ arena: SharedMemory) throws -> (LinkGrant, [Descriptor]) {
        if arenaForCallees == nil { arenaForCallees = arena }
        let shared = arenaForCallees ?? arena
        return try lock.withLock {
            var instance = try instances[function] ?? start(function)
            let reply = try SharedMemory(name: "reply", count: Arena.replyBytes)
            let pairs = try cpus.map { _ in try Seqpacket.pair() }
            let number = nextLink
            nextLink += 1
            let offer = LinkOffer(
                link: number, lanes: UInt8(cpus.count), requestArena: UInt64(shared.count),
                replyArena: UInt64(reply.count))
            try Seqpacket.send(
                instance.channel.raw, InvokeEvent.accept([offer]).frame,
                descriptors: pairs.map(\.1.raw) + [shared.readable.raw, reply.writable.raw])
            // `accepted`, or the end of an instance that is just going.
            _ = try Seqpacket.receive(instance.channel.raw)
            instance.lanes += pairs.map(\.1)
            instance.links.append(number)
            instances[function] = instance
            let expert = model.experts[function]
            let grant = LinkGrant(
                link: number, position: UInt32(position), instance: number, runtime: .expert,
                lanes: UInt8(cpus.count), replyArena: UInt64(reply.count), width: UInt32(expert.width),
                experts: UInt32(expert.experts.count))
            return (grant, pairs.map(\.0) + [reply.readable])
        }
    }

    private func start(_ function: Int) throws -> Instance {
        started += 1
        let worker = try TestWorker(model, function: function, cpus: cpus)
        return Instance(channel: worker.channel)
    }
}

/// An expert function's worker in threads of this process.
final class TestWorker: @unchecked Sendable {
    /// Node's end.
    let channel: Descriptor
    let status: StatusPage
    private let ended = FutexWord(.max)

    /// Returns when the worker is ready.
    init(_ model: NanoModel, function: Int, cpus: [UInt32]) throws {
        let (node, own) = try Seqpacket.pair()
        channel = node
        let page = try SharedMemory(name: "status", count: 4096)
        status = try StatusPage(page.writable.raw)
        // Room for its shard was granted and it was read.
        _ = status.moveShard(from: LOCUM_SHARD_ABSENT, to: LOCUM_SHARD_RESIDENT)
        guard let file = model.files.files[function + 1] else {
            throw SyscallError(stage: "find shard \(function + 1)", errno: ENOENT)
        }
        func given(_ raw: Int32) throws -> Int32 { try check(dup(raw), "duplicate \(raw)") }
        let context = WorkerContext(
            channel: try given(own.raw), shard: try given(file.fileDescriptor),
            shardBytes: try file.seekToEnd(), statusPage: try given(page.writable.raw), name: "f\(function)",
            runtime: .expert, cpus: cpus, sequences: 0)
        let ended = ended
        Thread {
            let code = Worker.run(context) {}
            ended.store(UInt32(bitPattern: code))
            ended.wake()
        }.start()
        guard let packet = try Seqpacket.receive(node.raw) else {
            throw SyscallError(stage: "start worker \(function)", errno: EPIPE)
        }
        guard case .ready = try InvokeRequest(frame: packet.bytes) else {
            throw SyscallError(stage: "start worker \(function): \(packet.bytes)", errno: EPROTO)
        }
    }

    /// Waits for the exit code.
    func exitCode() -> Int32 {
        while ended.value == .max { ended.sleep(while: .max, nanoseconds: 1_000_000_000) }
        return Int32(bitPattern: ended.value)
    }
}

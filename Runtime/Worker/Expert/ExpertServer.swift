// An expert function's instance: lanes, and on lane 0 the channel on which node brings callers and tells the
// instance to leave.
import CLinux
import Glibc
import Link
import Shard
import Syscall
import Wire

/// Serves one expert function.
final class ExpertServer {
    private let model: ExpertModel
    private let channel: Descriptor
    private let control: LaneControl
    private let lanes: [ExpertLane]
    private var state = State.serving

    private enum State {
        case serving
        /// Told to leave, or node is gone: code 0. Anything else that ends it: 1.
        case ended(code: Int32)
    }

    /// Makes the lanes; all but lane 0 wait for calls from now on, lane 0 is the calling thread.
    init(_ parts: WorkerParts, channel: Descriptor) throws {
        model = try ExpertModel(parts.shard)
        parts.letGoOfHeader()
        self.channel = channel
        control = LaneControl(status: parts.status, residency: parts.residency)
        var lanes: [ExpertLane] = []
        for _ in parts.cpus { lanes.append(try ExpertLane(model, control: control)) }
        self.lanes = lanes
        try lanes[0].watch(channel: channel.raw)
        try PinnedThread.pin(to: parts.cpus[0])
        for (index, cpu) in parts.cpus.enumerated().dropFirst() {
            let lane = lanes[index]
            try PinnedThread.start(cpu: cpu, stack: PinnedThread.laneStack, name: "lane \(index)") { lane.run() }
        }
    }

    /// Tells node that the function can be called, and serves until node lets it go.
    /// - Returns: the process's exit code.
    func run() throws -> Int32 {
        let ready = InvokeRequest.ready(width: UInt32(model.width), experts: UInt32(model.experts.count))
        control.status.ready()
        try Seqpacket.send(channel.raw, ready.frame)
        lanes[0].run { [self] in hear() }
        if case .ended(let code) = state { return code }
        return 1
    }

    /// One message of node. False: the end.
    private func hear() -> Bool {
        do {
            guard let packet = try Seqpacket.receive(channel.raw, wait: false) else { return end(0) }
            switch try InvokeEvent(frame: packet.bytes) {
            case .accept(let offers):
                try accept(offers, packet.descriptors)
                try Seqpacket.send(channel.raw, InvokeRequest.accepted.frame)
            case .settle: control.residency.settle()
            case .drain:
                drain()
                return end(0)
            default:
                // Node says nothing else to an expert.
                return end(1)
            }
        } catch let error as SyscallError where error.errno == EAGAIN {
            return true
        } catch {
            return end(1)
        }
        return true
    }

    private func end(_ code: Int32) -> Bool {
        state = .ended(code: code)
        return false
    }

    /// Per offer: a socket per lane, the request arena, the reply arena.
    private func accept(_ offers: [LinkOffer], _ descriptors: [Descriptor]) throws(WireError) {
        var rest = descriptors[...]
        for offer in offers {
            let sockets = Int(offer.lanes)
            guard (1...lanes.count).contains(sockets), rest.count >= sockets + 2 else {
                throw WireError(reason: "link \(offer.link) has \(sockets) lanes, \(rest.count) descriptors", offset: 0)
            }
            let own = rest.prefix(sockets + 2)
            rest = rest.dropFirst(sockets + 2)
            // A link that cannot be served is closed: its caller sees the end and acquires again.
            try? serve(offer, Array(own))
        }
    }

    private func serve(_ offer: LinkOffer, _ descriptors: [Descriptor]) throws(SyscallError) {
        let sockets = Int(offer.lanes)
        guard let request = Int(exactly: offer.requestArena), let reply = Int(exactly: offer.replyArena) else {
            throw SyscallError(stage: "size the arenas of link \(offer.link)", errno: EINVAL)
        }
        let arenas = LinkArenas(
            request: try Mapping(descriptors[sockets].raw, count: request, writable: false),
            reply: try Mapping(descriptors[sockets + 1].raw, count: reply, writable: true))
        for lane in 0..<sockets {
            try lanes[lane].serve(
                LaneLink(socket: descriptors[lane], arenas: arenas, share: arenas.share(lane, of: sockets)))
        }
    }

    /// Refuses new calls and waits for those that other lanes compute; lane 0, whose thread this is, has none.
    private func drain() {
        control.draining.store(1)
        while control.active.value != 0 {
            control.draining.sleep(while: 1, nanoseconds: 200_000)
        }
    }
}

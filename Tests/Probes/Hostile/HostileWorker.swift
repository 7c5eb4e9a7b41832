// A worker that speaks the protocols well enough to be linked and called, and then does what its attack says.
import CLinux
import CProbe
import ForkServer
import Glibc
import Link
import Shard
import Syscall
import Wire

struct HostileWorker {
    let attack: Attack
    let order: SpawnOrder
    let channel: Int32
    private let shard: Int32
    private let statusPage: Int32

    init(_ attack: Attack, _ order: SpawnOrder, _ descriptors: WorkerDescriptors) {
        (self.attack, self.order) = (attack, order)
        (channel, shard, statusPage) = (descriptors.channel, descriptors.shard, descriptors.statusPage)
    }

    func run(_ seal: () throws(SyscallError) -> Void) -> Int32 {
        if attack == .dieAtStart { return 7 }
        do {
            let page = try Mapping(statusPage, count: 4096, writable: true)
            let bytes = Int(order.shardBytes)
            let mapping = try Mapping(shard, count: bytes, writable: false)
            let kind = try ShardView(validating: UnsafeRawBufferPointer(start: mapping.base, count: bytes)).kind
            close(shard)
            close(statusPage)
            let epoll = try Epoll()
            try epoll.add(channel, token: 0)
            try seal()
            if attack == .dieUnready { return 8 }
            if attack == .failLong {
                say(.failed(code: "code", message: String(repeating: "nonsense ", count: 5000)))
                return 9
            }
            locum_status_ready(page.base.assumingMemoryBound(to: locum_status_page.self))
            switch kind {
            case .expert(let width, _, let count):
                try HostileExpert(self, page: page, shard: mapping, epoll: epoll, width: width, experts: count).run()
            case .router:
                try HostileRouter(self, epoll: epoll).run()
            }
            return 0
        } catch {
            say(.failed(code: "hostile", message: "\(attack) came to nothing: \(error)"))
            return 1
        }
    }

    /// Tells node something.
    func say(_ request: InvokeRequest) { try? Seqpacket.send(channel, request.frame) }

    /// One message of node, if it is an offer of links; nil: the end.
    func hear() throws -> [(offer: LinkOffer, descriptors: [Descriptor])]? {
        guard let packet = try Seqpacket.receive(channel) else { return nil }
        guard case .accept(let offers) = try InvokeEvent(frame: packet.bytes) else { return [] }
        var rest = packet.descriptors[...]
        return offers.map { offer in
            let own = Array(rest.prefix(Int(offer.lanes) + 2))
            rest = rest.dropFirst(own.count)
            return (offer, own)
        }
    }
}

func hang() -> Never { while true { _ = locum_futex_wait([0], 0, 1_000_000_000) } }

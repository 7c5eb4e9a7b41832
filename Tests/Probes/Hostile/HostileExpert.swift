// An expert with one lane that misbehaves at one point of its life.
import CLinux
import CProbe
import Glibc
import Link
import Syscall
import Wire

final class HostileExpert {
    private let worker: HostileWorker
    private let attack: Attack
    private let page: Mapping
    private let shard: Mapping
    private let epoll: Epoll
    private let width: Int
    private let experts: Int
    private var links: [(lanes: [Descriptor], request: Mapping, reply: Mapping)] = []

    init(_ worker: HostileWorker, page: Mapping, shard: Mapping, epoll: consuming Epoll, width: Int, experts: Int) {
        (self.worker, self.page, self.shard) = (worker, page, shard)
        (self.epoll, self.width, self.experts) = (epoll, width, experts)
        attack = worker.attack
    }

    func run() throws {
        let ready = InvokeRequest.ready(width: UInt32(width), experts: UInt32(experts))
        switch attack {
        case .readyWrong: worker.say(.ready(width: .max, experts: .max))
        case .readyTwice:
            worker.say(ready)
            worker.say(ready)
        case .closeAll:
            worker.say(ready)
            for descriptor in Int32(0)..<1024 { close(descriptor) }
            hang()
        default: worker.say(ready)
        }
        while true {
            for event in try epoll.wait() {
                if event.token == 0 {
                    guard let offers = try worker.hear() else { return }
                    if !offers.isEmpty { try link(offers) }
                } else {
                    try serve(links[Int(event.token) - 1])
                }
            }
        }
    }

    // MARK: Node

    private func link(_ offers: [(offer: LinkOffer, descriptors: [Descriptor])]) throws {
        switch attack {
        case .dieAtLink: exit(11)
        case .nodeDeaf:
            // Node's next messages stay unread.
            hang()
        default: break
        }
        for (offer, descriptors) in offers {
            let lanes = Int(offer.lanes)
            let (request, reply) = (descriptors[lanes], descriptors[lanes + 1])
            if attack == .mapRequestWritable {
                // A reader's descriptor of an arena is to be mapped for reading alone.
                let stolen = try? Mapping(request.raw, count: Int(offer.requestArena), writable: true)
                if let stolen { stolen.base.storeBytes(of: 1, as: UInt8.self) }
                exit(stolen == nil ? 12 : 0)
            }
            links.append(
                (
                    Array(descriptors.prefix(lanes)),
                    try Mapping(request.raw, count: Int(offer.requestArena), writable: false),
                    try Mapping(reply.raw, count: Int(offer.replyArena), writable: true)
                ))
            for lane in descriptors.prefix(lanes) { try epoll.add(lane.raw, token: UInt64(links.count)) }
        }
        worker.say(.accepted)
        switch attack {
        case .dieLinked: exit(13)
        case .acceptedUnasked: worker.say(.accepted)
        case .nodeGarbage: try Seqpacket.send(worker.channel, [255, 1, 2, 3])
        case .nodeLong:
            // As much as the socket takes.
            for length in [1 << 20, 200_000, 150_000, 131_073] {
                try? Seqpacket.send(worker.channel, [UInt8](repeating: 7, count: length))
            }
        case .nodeDescriptors:
            try Seqpacket.send(
                worker.channel, InvokeRequest.kept.frame, descriptors: links[0].lanes.map(\.raw) + [worker.channel])
        case .nodeFlood: for _ in 0..<200_000 { worker.say(.kept) }
        case .nodeAcquire: worker.say(.acquireNamed(request: 1, functions: ["good/router"]))
        case .nodeDeploy: worker.say(.deploy(DeployOptions(name: "mine"), files: ["config.json"], more: false))
        case .nodeReserve: worker.say(.reserve(request: 1, bytes: .max))
        case .claimLoaded: for _ in 0..<100 { worker.say(.loaded(nanoseconds: .max)) }
        case .claimDropped: for _ in 0..<100 { worker.say(.dropped) }
        case .claimUnreadable: worker.say(.unreadable(errno: EIO))
        case .pageGarbage: memset(page.base, 0xff, 4096)
        case .answerEarly: for link in links { answer(link, call: 1, pairs: 1) }
        default: break
        }
    }

    // MARK: Callers

    private func serve(_ link: (lanes: [Descriptor], request: Mapping, reply: Mapping)) throws {
        var call = locum_call()
        let socket = link.lanes[0].raw
        guard recv(socket, &call, MemoryLayout<locum_call>.size, 0) == MemoryLayout<locum_call>.size else { exit(0) }
        guard call.kind == UInt16(LOCUM_CALL_APPLY) else { return }
        let (number, pairs) = (call.call, call.pair_count)
        switch attack {
        case .dieCalled: exit(14)
        case .laneClosed:
            close(socket)
            hang()
        case .neverAnswer: hang()
        case .cpuHog: while true {}
        case .heapBomb: probe_heap_bomb()
        case .stackBomb: probe_stack_bomb()
        case .trap:
            let none: [Int] = []
            exit(Int32(none[Int(number)]))
        case .answerOther: answer(link, call: number &+ 1, pairs: pairs)
        case .answerShort: raw(socket, count: 3)
        case .answerLong: raw(socket, count: 60_000)
        case .answerEmpty: raw(socket, count: 0)
        case .answerMagic: answer(link, call: number, pairs: pairs) { $0.magic = 0 }
        case .answerVersion: answer(link, call: number, pairs: pairs) { $0.version = 9 }
        case .answerStatus: answer(link, call: number, pairs: pairs) { $0.status = 99 }
        case .answerCount: answer(link, call: number, pairs: .max)
        case .answerTwice:
            answer(link, call: number &- 1, pairs: pairs)
            answer(link, call: number, pairs: pairs)
        case .answerDescriptors:
            var reply = locum_reply()
            _ = locum_send(
                socket, &reply, MemoryLayout<locum_reply>.size, Array(repeating: socket, count: 200), 200, 0)
        case .answerFlood: for _ in 0..<10_000 { answer(link, call: 0, pairs: 0) }
        case .answerNaN:
            let output = (link.reply.base + Int(call.output_offset)).assumingMemoryBound(to: Float.self)
            for index in 0..<Int(pairs) * width { output[index] = .nan }
            answer(link, call: number, pairs: pairs)
        case .answerDraining:
            answer(link, call: number, pairs: 0) { $0.status = UInt16(LOCUM_REPLY_DRAINING) }
        case .answerUnreadable:
            answer(link, call: number, pairs: 0) { $0.status = UInt16(LOCUM_REPLY_UNREADABLE) }
        case .writeRequest: UnsafeMutableRawPointer(mutating: link.request.base).storeBytes(of: 1, as: UInt8.self)
        case .fillReply:
            memset(link.reply.base, 1, link.reply.count)
            exit(15)
        case .readBeyond:
            // Its whole shard, granted or not, then what lies behind it.
            var sum = 0
            var at = shard.base
            while true {
                sum &+= Int(at.load(as: UInt8.self))
                at += 4096
            }
        default: exit(16)
        }
    }

    private func answer(
        _ link: (lanes: [Descriptor], request: Mapping, reply: Mapping), call: UInt64, pairs: UInt32,
        _ change: (inout locum_reply) -> Void = { _ in }
    ) {
        var reply = locum_reply()
        (reply.magic, reply.version) = (LOCUM_REPLY_MAGIC, UInt16(LOCUM_LINK_VERSION))
        (reply.call, reply.pair_count) = (call, pairs)
        change(&reply)
        _ = locum_send(link.lanes[0].raw, &reply, MemoryLayout<locum_reply>.size, nil, 0, LOCUM_MSG_DONTWAIT)
    }

    private func raw(_ socket: Int32, count: Int) {
        let bytes = [UInt8](repeating: 0x4c, count: max(1, count))
        _ = locum_send(socket, bytes, count, nil, 0, 0)
    }
}

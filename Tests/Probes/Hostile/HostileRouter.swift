// A router that asks node for what it may not have, or tells its callers nonsense.
import CLinux
import CProbe
import Glibc
import Link
import Syscall
import Wire

final class HostileRouter {
    private let worker: HostileWorker
    private let attack: Attack
    private let epoll: Epoll
    private var links: [(lanes: [Descriptor], mappings: [Mapping])] = []

    init(_ worker: HostileWorker, epoll: consuming Epoll) {
        (self.worker, self.epoll) = (worker, epoll)
        attack = worker.attack
    }

    func run() throws {
        worker.say(.ready(width: 0, experts: 0))
        while true {
            for event in try epoll.wait() {
                if event.token == 0 {
                    guard let offers = try worker.hear() else { return }
                    for (offer, descriptors) in offers {
                        links.append((Array(descriptors.prefix(Int(offer.lanes))), []))
                        for lane in descriptors.prefix(Int(offer.lanes)) {
                            try epoll.add(lane.raw, token: UInt64(links.count))
                        }
                        worker.say(.accepted)
                    }
                    if !offers.isEmpty { try tellNode() }
                } else {
                    try serve(links[Int(event.token) - 1].lanes[0].raw)
                }
            }
        }
    }

    private func tellNode() throws {
        switch attack {
        case .routerAcquireBeyond: worker.say(.acquire(request: 1, callees: [1_000_000]))
        case .routerAcquireNamed: worker.say(.acquireNamed(request: 1, functions: ["good/router", "good/L00-E000"]))
        case .routerDeploy: worker.say(.deploy(DeployOptions(name: "mine"), files: ["config.json"], more: false))
        case .routerReserveAll:
            for request in UInt32(0)..<2000 { worker.say(.reserve(request: request, bytes: .max)) }
        case .routerUnreserve: worker.say(.unreserve(bytes: .max))
        case .routerSpare: worker.say(.spare(bytes: .max))
        case .routerPrefetch: worker.say(.prefetch(callees: [.max]))
        case .routerTaken: worker.say(.taken(request: 77))
        case .routerReleaseOthers:
            // Links are numbered: all that there can be of others, with a complaint about each.
            worker.say(.released(links: Array(0..<10_000), faulty: true))
        case .routerDescriptors:
            try Seqpacket.send(
                worker.channel, InvokeRequest.prefetch(callees: []).frame, descriptors: [worker.channel])
        case .routerFlood: for _ in 0..<200_000 { worker.say(.prefetch(callees: [0])) }
        default: break
        }
    }

    /// A caller (control) starts a sequence.
    private func serve(_ socket: Int32) throws {
        guard let packet = try Seqpacket.receive(socket) else { exit(0) }
        let sequence = (try? RouterFrame(frame: packet.bytes))?.sequence ?? 1
        func send(_ event: RouterEvent, to other: UInt64? = nil) {
            for part in RouterFrame.cut(event, sequence: other ?? sequence) {
                try? Seqpacket.send(socket, part.frame)
            }
        }
        let started = RouterEvent.started(prompt: [1, 2, 3], text: "", cached: 0)
        switch attack {
        case .routerDieCalled: exit(21)
        case .routerGarbage: try Seqpacket.send(socket, [200, 201, 202])
        case .routerOthers:
            for other in UInt64(0)..<5000 where other != sequence {
                send(.token(index: 0, id: 1, text: "stolen", score: nil), to: other)
                send(.finished(.stop, text: "", tokens: 1), to: other)
            }
            exit(22)
        case .routerParts:
            // Messages that never end, of many sequences at once.
            for other in UInt64(0)..<64 {
                for _ in 0..<400 {
                    let part = RouterFrame(
                        sequence: other, last: false, part: [UInt8](repeating: 1, count: RouterFrame.longestPart))
                    try? Seqpacket.send(socket, part.frame)
                }
            }
            exit(23)
        case .routerEndless:
            send(started)
            var index: UInt32 = 0
            while true {
                send(.token(index: index, id: 1, text: "more ", score: nil))
                index &+= 1
            }
        case .routerFinishTwice:
            send(started)
            for _ in 0..<100 { send(.finished(.stop, text: "", tokens: 0)) }
            hang()
        case .routerBadText:
            send(started)
            // A text that is no UTF-8.
            var bytes = RouterEvent.token(index: 0, id: 1, text: "aaaa", score: nil).frame
            if let at = bytes.firstIndex(of: UInt8(ascii: "a")) {
                bytes.replaceSubrange(at..<at + 4, with: [255, 254, 0, 192])
            }
            try? Seqpacket.send(socket, RouterFrame(sequence: sequence, last: true, part: bytes).frame)
            exit(24)
        case .routerBadIndex:
            send(.token(index: .max, id: -1, text: "before the start", score: nil))
            send(.promptScores(first: .max, []))
            send(.finished(.length, text: "end", tokens: .max))
            exit(25)
        default: hang()
        }
    }
}

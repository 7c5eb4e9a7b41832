// One caller of one expert worker, with its hands on the bytes: what a hostile caller can do.
import CLinux
import Foundation
import Glibc
import Link
import Syscall
import Wire

@testable import Worker

final class DirectCaller {
    let worker: TestWorker
    let request: Mapping
    let reply: Mapping
    private(set) var lanes: [Descriptor] = []
    let width: Int
    private let sizes: (request: Int, reply: Int)
    private let answers: Descriptor

    init(_ worker: TestWorker, width: Int, lanes count: Int, request: Int = 1 << 20, reply: Int = 1 << 20) throws {
        (self.worker, self.width, sizes) = (worker, width, (request, reply))
        let asks = try SharedMemory(name: "request", count: request)
        let answers = try SharedMemory(name: "reply", count: reply)
        self.request = try Mapping(asks.writable.raw, count: request, writable: true)
        self.answers = answers.readable
        self.reply = try Mapping(answers.readable.raw, count: reply, writable: false)
        let pairs = try (0..<count).map { _ in try Seqpacket.pair() }
        let offer = LinkOffer(
            link: 1, lanes: UInt8(count), requestArena: UInt64(request), replyArena: UInt64(reply))
        try Seqpacket.send(
            worker.channel.raw, InvokeEvent.accept([offer]).frame,
            descriptors: pairs.map(\.1.raw) + [asks.readable.raw, answers.writable.raw])
        guard let packet = try Seqpacket.receive(worker.channel.raw),
            case .accepted = try InvokeRequest(frame: packet.bytes)
        else { throw SyscallError(stage: "have a link accepted", errno: EPROTO) }
        lanes = pairs.map(\.0)
    }

    var rows: UnsafeMutablePointer<Float> { request.base.assumingMemoryBound(to: Float.self) }
    /// Behind room for 64 rows.
    var pairsOffset: Int { 64 * width * 4 }
    var pairs: UnsafeMutablePointer<locum_pair> {
        (request.base + pairsOffset).assumingMemoryBound(to: locum_pair.self)
    }

    /// A call that is right: one row, one pair.
    func call(_ number: UInt64 = 1, lane: Int = 0, rows: Int = 1, pairs: Int = 1) -> locum_call {
        var call = locum_call()
        call.magic = LOCUM_CALL_MAGIC
        call.version = UInt16(LOCUM_LINK_VERSION)
        call.kind = 1
        call.call = number
        call.pairs_offset = UInt64(pairsOffset)
        call.output_offset = UInt64(sizes.reply / lanes.count / 4096 * 4096 * lane)
        call.row_count = UInt32(rows)
        call.width = UInt32(width)
        call.pair_count = UInt32(pairs)
        return call
    }

    func send(_ call: locum_call, lane: Int = 0) {
        var call = call
        _ = locum_send(lanes[lane].raw, &call, MemoryLayout<locum_call>.size, nil, 0, 0)
    }

    /// The next reply; nil at end of file.
    func receive(lane: Int = 0) -> locum_reply? {
        var reply = locum_reply()
        let got = recv(lanes[lane].raw, &reply, MemoryLayout<locum_reply>.size, 0)
        return got == MemoryLayout<locum_reply>.size ? reply : nil
    }

    func status(_ call: locum_call, lane: Int = 0) -> Int32? {
        send(call, lane: lane)
        return receive(lane: lane).map { Int32($0.status) }
    }

    /// `pairs` rows of output as the callee wrote them.
    func output(_ call: locum_call, pairs: Int) -> [Float] {
        let start = (reply.base + Int(call.output_offset)).assumingMemoryBound(to: Float.self)
        return Array(UnsafeBufferPointer(start: start, count: pairs * width))
    }

    /// Bytes of the reply arena that cost memory.
    func chargedReply() throws -> Int {
        var status = stat()
        try check(fstat(answers.raw, &status), "examine the reply arena")
        return Int(status.st_blocks) * 512
    }

    func close() { lanes = [] }
}

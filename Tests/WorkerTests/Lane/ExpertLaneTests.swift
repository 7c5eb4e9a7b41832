// What an expert worker answers to right calls, to wrong ones, and when it is told to leave.
import CLinux
import Foundation
import Glibc
import Link
import ModelImport
import Shard
import Syscall
import Testing
import Wire

@testable import Worker

@Suite("An expert's lanes", .serialized)
struct ExpertLaneTests {
    nonisolated(unsafe) private static let model = Result {
        try NanoModel("qwen2moe", ImportOptions(expertsPerFunction: 0, kvType: "f32"))
    }

    private static func caller(lanes: Int = 1, cpus: Int? = nil) throws -> DirectCaller {
        let model = try model.get()
        let worker = try TestWorker(model, function: 0, cpus: Array(TestCPUs.all.prefix(cpus ?? lanes)))
        return try DirectCaller(worker, width: model.config.hidden, lanes: min(lanes, TestCPUs.all.count))
    }

    private static func fill(_ caller: DirectCaller, rows: Int) {
        for index in 0..<rows * caller.width { caller.rows[index] = Float((index * 37) % 101 - 50) / 50 }
    }

    /// What expert `expert` makes of row `row`, computed here.
    private static func expected(_ caller: DirectCaller, row: Int, expert: Int) throws -> [Float] {
        let function = try model.get().experts[0]
        let scratch = try ExpertScratch(function)
        var output = [Float](repeating: 0, count: caller.width)
        output.withUnsafeMutableBufferPointer { output in
            withUnsafePointer(to: UnsafeRawPointer?.some(caller.rows + row * caller.width)) { input in
                withUnsafePointer(to: output.baseAddress) { output in
                    scratch.apply(function.experts[expert], inputs: input, outputs: output, count: 1)
                }
            }
        }
        return output
    }

    @Test("Any pairs of rows and experts are answered in their order, with the bits of each alone")
    func answers() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 60)
        for count in [1, 2, 7, 33, 200] {
            for pair in 0..<count {
                caller.pairs[pair] = locum_pair(row: UInt32(pair * 13 % 60), expert: UInt32(pair * 5 % 16))
            }
            let call = caller.call(UInt64(count), rows: 60, pairs: count)
            caller.send(call)
            let reply = try #require(caller.receive())
            #expect(reply.magic == LOCUM_REPLY_MAGIC && reply.call == UInt64(count))
            #expect(Int32(reply.status) == LOCUM_REPLY_OK && reply.pair_count == UInt32(count))
            let output = caller.output(call, pairs: count)
            for pair in 0..<count {
                let one = Array(output[pair * caller.width..<(pair + 1) * caller.width])
                let expected = try Self.expected(caller, row: pair * 13 % 60, expert: pair * 5 % 16)
                try #require(one == expected)
            }
        }
        let page = caller.worker.status.snapshot
        #expect(page.invocations == 5 && page.rows == 243 && page.active == 0)
        #expect(page.ready_ns > 0 && page.first_answer_ns >= page.ready_ns)
    }

    @Test("Every lane answers into its own share")
    func lanes() throws {
        let caller = try Self.caller(lanes: 2)
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 3)
        let calls = (0..<caller.lanes.count).map { caller.call(UInt64($0), lane: $0) }
        for (lane, call) in calls.enumerated() { caller.send(call, lane: lane) }
        for (lane, call) in calls.enumerated() {
            #expect(caller.receive(lane: lane)?.call == UInt64(lane))
            #expect(try caller.output(call, pairs: 1) == Self.expected(caller, row: 0, expert: 3))
        }
        if caller.lanes.count > 1 {
            // Another lane's share is out of bounds.
            #expect(caller.status(caller.call(lane: 1), lane: 0) == LOCUM_REPLY_BAD_CALL)
        }
    }

    @Test("A call that is wrong in any field is refused, and the next right one is answered")
    func badCalls() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 4)
        caller.pairs[0] = locum_pair(row: 0, expert: 0)
        let faults: [(String, (inout locum_call) -> Void)] = [
            ("magic", { $0.magic = 0 }),
            ("version", { $0.version = 9 }),
            ("kind", { $0.kind = 3 }),
            ("narrow", { $0.width -= 1 }),
            ("wide", { $0.width = .max }),
            ("no rows", { $0.row_count = 0 }),
            ("rows beyond the arena", { $0.row_count = 1 << 16 }),
            ("as many rows as can be", { $0.row_count = .max }),
            ("no pairs", { $0.pair_count = 0 }),
            ("pairs beyond the limit", { $0.pair_count = UInt32(ExpertCall.mostPairs) + 1 }),
            ("as many pairs as can be", { $0.pair_count = .max }),
            ("pairs beyond the output", { $0.pair_count = 8192 }),
            ("rows at the end", { $0.rows_offset = 1 << 20 }),
            ("rows far out", { $0.rows_offset = .max }),
            ("rows at a sign's turn", { $0.rows_offset = 1 << 63 }),
            ("rows between floats", { $0.rows_offset = 2 }),
            ("pairs at the end", { $0.pairs_offset = (1 << 20) - 4 }),
            ("pairs far out", { $0.pairs_offset = .max - 7 }),
            ("pairs between floats", { $0.pairs_offset += 1 }),
            ("output at the end", { $0.output_offset = (1 << 20) - 4 }),
            ("output far out", { $0.output_offset = .max - 3 }),
            ("output between floats", { $0.output_offset = 3 }),
        ]
        for (name, fault) in faults {
            var call = caller.call()
            fault(&call)
            #expect(caller.status(call) == LOCUM_REPLY_BAD_CALL, "\(name)")
            #expect(caller.status(caller.call()) == LOCUM_REPLY_OK, "after: \(name)")
        }
        for (row, expert) in [(1, 0), (UInt32.max, 0), (0, 16), (0, UInt32.max)] as [(UInt32, UInt32)] {
            caller.pairs[0] = locum_pair(row: row, expert: expert)
            #expect(caller.status(caller.call()) == LOCUM_REPLY_BAD_CALL, "row \(row), expert \(expert)")
        }
        // A bad pair behind good ones: none of them may linger in the lane.
        for pair in 0..<9 { caller.pairs[pair] = locum_pair(row: 0, expert: pair == 8 ? 99 : 1) }
        #expect(caller.status(caller.call(pairs: 9)) == LOCUM_REPLY_BAD_CALL)
        #expect(caller.status(caller.call()) == LOCUM_REPLY_OK)
        #expect(caller.worker.status.snapshot.active == 0)
    }

    @Test(
        "Replies tell of all CPU time that the process uses, each of it once; callers of a batch share it by their pairs"
    )
    func cpuTime() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 3)
        // The worker's process is the test's here.
        func used() -> UInt64 {
            var nothing: UInt64 = 0
            return locum_untold_cpu_ns(&nothing)
        }
        var (told, before, last) = (UInt64(0), UInt64(0), UInt64(0))
        for number in 1...400 {
            let asked = used()
            caller.send(caller.call(UInt64(number)))
            let reply = try #require(caller.receive())
            if number == 1 { #expect(reply.cpu_ns > 0, "the start is told of with the first call") }
            if reply.cpu_ns > 0 { (before, last) = (asked, used()) }
            told += reply.cpu_ns
        }
        #expect(told > before && told <= last)
        // Of one that has been told of everything nothing is left.
        var all = UInt64.max
        #expect(locum_untold_cpu_ns(&all) == 0)
    }

    @Test(
        "A shard whose room is taken back is dropped when idle, kept when a call comes first, and read again when called"
    )
    func residency() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 3)
        let call = caller.call()
        #expect(caller.status(call) == LOCUM_REPLY_OK)
        let before = Array(caller.output(call, pairs: 1)[0..<caller.width])
        let (worker, status) = (caller.worker, caller.worker.status)
        func request() throws -> InvokeRequest {
            try InvokeRequest(frame: try #require(try Seqpacket.receive(worker.channel.raw)).bytes)
        }
        // Idle, the worker is told by a message.
        #expect(status.moveShard(from: LOCUM_SHARD_RESIDENT, to: LOCUM_SHARD_LEAVING))
        try Seqpacket.send(worker.channel.raw, InvokeEvent.settle.frame)
        #expect(try request() == .dropped)
        #expect(status.shardState == LOCUM_SHARD_ABSENT)
        // A call waits, and asks for room once.
        caller.send(call)
        #expect(try request() == .need)
        #expect(status.moveShard(from: LOCUM_SHARD_ABSENT, to: LOCUM_SHARD_GRANTED))
        guard case .loaded = try request() else { throw SyscallError(stage: "hear that it was read", errno: EPROTO) }
        let reply = try #require(caller.receive())
        #expect(Int32(reply.status) == LOCUM_REPLY_OK && reply.load_ns > 0)
        #expect(Array(caller.output(call, pairs: 1)[0..<caller.width]) == before)
        // A call that comes before the message keeps the pages, and the message means nothing any more.
        #expect(status.moveShard(from: LOCUM_SHARD_RESIDENT, to: LOCUM_SHARD_LEAVING))
        #expect(caller.status(call) == LOCUM_REPLY_OK)
        #expect(try request() == .kept)
        try Seqpacket.send(worker.channel.raw, InvokeEvent.settle.frame)
        #expect(caller.status(call) == LOCUM_REPLY_OK)
        #expect(status.shardState == LOCUM_SHARD_RESIDENT)
        #expect(status.snapshot.active == 0)
    }

    @Test("A call whose shard cannot be read is told so, and takes nothing with it")
    func unreadable() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 0)
        let status = caller.worker.status
        #expect(status.moveShard(from: LOCUM_SHARD_RESIDENT, to: LOCUM_SHARD_UNREADABLE))
        let call = caller.call()
        #expect(caller.status(call) == LOCUM_REPLY_UNREADABLE)
        #expect(status.moveShard(from: LOCUM_SHARD_UNREADABLE, to: LOCUM_SHARD_RESIDENT))
        #expect(caller.status(call) == LOCUM_REPLY_OK)
    }

    @Test("Answers that were read are given back when the caller says so")
    func trim() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 1)
        for pair in 0..<200 { caller.pairs[pair] = locum_pair(row: 0, expert: UInt32(pair % 16)) }
        let call = caller.call(1, pairs: 200)
        #expect(caller.status(call) == LOCUM_REPLY_OK)
        #expect(caller.output(call, pairs: 200).contains { $0 != 0 })
        ExpertCall.trim(lane: caller.lanes[0].raw)
        // The next call comes after the trim on the same socket.
        #expect(caller.status(caller.call(2)) == LOCUM_REPLY_OK)
        let rest = caller.output(call, pairs: 200)[1024...]
        #expect(rest.allSatisfy { $0 == 0 })
    }

    @Test("Messages of any other length are refused, and random bytes never stop the lane")
    func noise() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 0)
        var state: UInt64 = 99
        for length in [1, 3, 4, 16, 47, 57, 200, 5000] {
            let bytes = (0..<length).map { _ -> UInt8 in
                state = state &* 6_364_136_223_846_793_005 &+ 1
                return UInt8(truncatingIfNeeded: state >> 40)
            }
            _ = locum_send(caller.lanes[0].raw, bytes, length, nil, 0, 0)
            #expect(caller.receive().map { Int32($0.status) } == LOCUM_REPLY_BAD_CALL, "\(length) bytes")
        }
        for _ in 0..<3000 {
            var call = caller.call()
            withUnsafeMutableBytes(of: &call) { bytes in
                for _ in 0..<3 {
                    state = state &* 6_364_136_223_846_793_005 &+ 1
                    bytes[8 + Int(state >> 33) % (bytes.count - 8)] = UInt8(truncatingIfNeeded: state >> 20)
                }
            }
            #expect(caller.status(call) != nil)
        }
        #expect(caller.status(caller.call()) == LOCUM_REPLY_OK)
    }

    @Test("Pairs that are rewritten while a call runs can harm nobody but their writer")
    func rewriting() throws {
        let caller = try Self.caller()
        Self.fill(caller, rows: 4)
        let over = FutexWord()
        nonisolated(unsafe) let pairs = caller.pairs
        let writer = Thread {
            var state: UInt64 = 5
            while over.value == 0 {
                state = state &* 6_364_136_223_846_793_005 &+ 1
                let wild = state >> 62 == 0
                pairs[Int(state >> 33) % 64] = locum_pair(
                    row: wild ? UInt32(truncatingIfNeeded: state) : 1, expert: wild ? .max : 2)
            }
            over.store(2)
            over.wake()
        }
        for pair in 0..<64 { pairs[pair] = locum_pair(row: 0, expert: 0) }
        writer.start()
        for _ in 0..<2000 { #expect(caller.status(caller.call(rows: 4, pairs: 64)) != nil) }
        over.store(1)
        while over.value == 1 { over.sleep(while: 1, nanoseconds: 1_000_000) }
        for pair in 0..<64 { pairs[pair] = locum_pair(row: 0, expert: 0) }
        #expect(caller.status(caller.call(rows: 4, pairs: 64)) == LOCUM_REPLY_OK)
    }

    @Test("Calls of several callers that wait together are answered with the bits of each alone")
    func together() throws {
        let first = try Self.caller()
        let callers = try [first] + (0..<5).map { _ in try DirectCaller(first.worker, width: first.width, lanes: 1) }
        for round in 0..<50 {
            for (index, caller) in callers.enumerated() {
                Self.fill(caller, rows: 8)
                for pair in 0..<8 {
                    caller.pairs[pair] = locum_pair(row: UInt32(pair), expert: UInt32((pair * index + round) % 16))
                }
            }
            // The first call keeps the lane busy while the others arrive.
            for (index, caller) in callers.enumerated() { caller.send(caller.call(UInt64(index), rows: 8, pairs: 8)) }
            for (index, caller) in callers.enumerated() {
                try #require(caller.receive()?.call == UInt64(index))
                let output = caller.output(caller.call(), pairs: 8)
                for pair in 0..<8 {
                    let one = Array(output[pair * caller.width..<(pair + 1) * caller.width])
                    let expected = try Self.expected(caller, row: pair, expert: (pair * index + round) % 16)
                    try #require(one == expected)
                }
            }
        }
    }

    @Test("A caller that goes, or never reads, does not disturb the others")
    func leavers() throws {
        let staying = try Self.caller()
        Self.fill(staying, rows: 1)
        staying.pairs[0] = locum_pair(row: 0, expert: 0)
        for round in 0..<20 {
            let leaver = try DirectCaller(staying.worker, width: staying.width, lanes: 1)
            // Its own send blocks at some time; the lane must not.
            for _ in 0..<(round == 0 ? 2000 : 1) {
                var call = leaver.call()
                _ = locum_send(
                    leaver.lanes[0].raw, &call, MemoryLayout<locum_call>.size, nil, 0, LOCUM_MSG_DONTWAIT)
            }
            #expect(staying.status(staying.call()) == LOCUM_REPLY_OK)
            leaver.close()
            #expect(staying.status(staying.call()) == LOCUM_REPLY_OK)
        }
    }

    @Test("Pages of the reply arena that a large call touched are given back at the next small one")
    func givesBack() throws {
        let model = try Self.model.get()
        let worker = try TestWorker(model, function: 0, cpus: [TestCPUs.all[0]])
        let caller = try DirectCaller(worker, width: model.config.hidden, lanes: 1, reply: 8 << 20)
        Self.fill(caller, rows: 64)
        for pair in 0..<ExpertCall.mostPairs { caller.pairs[pair] = locum_pair(row: UInt32(pair % 64), expert: 1) }
        #expect(caller.status(caller.call(rows: 64, pairs: ExpertCall.mostPairs)) == LOCUM_REPLY_OK)
        #expect(try caller.chargedReply() >= ExpertCall.mostPairs * caller.width * 4)
        let small = caller.call(rows: 64, pairs: 3)
        #expect(caller.status(small) == LOCUM_REPLY_OK)
        #expect(try caller.chargedReply() <= 256 << 10)
        let last = Array(caller.output(small, pairs: 3).suffix(caller.width))
        #expect(try last == Self.expected(caller, row: 2, expert: 1))
    }

    @Test("Drained, a worker ends with code 0 and its callers see the end")
    func drain() throws {
        let caller = try Self.caller(lanes: 2)
        Self.fill(caller, rows: 1)
        caller.pairs[0] = locum_pair(row: 0, expert: 0)
        #expect(caller.status(caller.call()) == LOCUM_REPLY_OK)
        try Seqpacket.send(caller.worker.channel.raw, InvokeEvent.drain.frame)
        #expect(caller.worker.exitCode() == 0)
        // The process would be gone now; here lane 1 lives on as a thread and refuses.
        if caller.lanes.count > 1 {
            #expect(caller.status(caller.call(lane: 1), lane: 1) == LOCUM_REPLY_DRAINING)
        }
    }

    @Test("A worker whose node is gone ends with code 0, one that hears nonsense with code 1")
    func ends() throws {
        let orphan = try Self.caller().worker
        shutdown(orphan.channel.raw, Int32(SHUT_RDWR))
        #expect(orphan.exitCode() == 0)
        let confused = try Self.caller().worker
        try Seqpacket.send(confused.channel.raw, [1, 99, 7])
        #expect(confused.exitCode() == 1)
        let misled = try Self.caller().worker
        let offer = LinkOffer(link: 1, lanes: 9, requestArena: 4096, replyArena: 4096)
        try Seqpacket.send(misled.channel.raw, InvokeEvent.accept([offer]).frame)
        #expect(misled.exitCode() == 1)
    }

    @Test("A shard that is not an expert's, or damaged, is reported with the function's name")
    func badShards() throws {
        let model = try Self.model.get()
        for (index, wanted) in [(0, "not an expert"), (-1, "LOCUMSH1")] {
            let (node, own) = try Seqpacket.pair()
            let page = try SharedMemory(name: "status", count: 4096)
            let damaged = try SharedMemory(name: "shard", count: 8192)
            let file = index < 0 ? damaged.readable.raw : try #require(model.files.files[index]).fileDescriptor
            let length = index < 0 ? 8192 : try #require(model.files.files[index]).seekToEnd()
            let context = WorkerContext(
                channel: dup(own.raw), shard: dup(file), shardBytes: UInt64(length),
                statusPage: dup(page.writable.raw), name: "m/L00-E001", runtime: .expert, cpus: [TestCPUs.all[0]],
                sequences: 0)
            let ended = FutexWord()
            Thread {
                ended.store(UInt32(Worker.run(context) {}))
                ended.wake()
            }.start()
            let packet = try #require(try Seqpacket.receive(node.raw))
            guard case .failed(let code, let message) = try InvokeRequest(frame: packet.bytes) else {
                Issue.record("no failure was reported")
                continue
            }
            #expect(code == "bad_shard" && message.contains("m/L00-E001") && message.contains(wanted))
            while ended.value == 0 { ended.sleep(while: 0, nanoseconds: 1_000_000) }
            #expect(ended.value == 1)
        }
    }
}

// Peers on invoke.sock that send anything at all: each gets a reason or a closed socket, and the node serves
// the next one as if nothing had been.
import CLinux
import Glibc
import Syscall
import SeededRandom
import Testing
import Wire

@testable import NodeAgent

@Suite(.serialized) struct HostilePeerTests {
    /// The node still answers a well-meant request.
    func expectServing(_ h: Harness) throws {
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 77, functions: []))
        guard case .links(77, 0, _, true) = try h.answer(caller).event else {
            Issue.record("the node does not serve any more")
            return
        }
    }

    @Test("A malformed frame is answered with bad_request and the connection closed")
    func malformed() throws {
        let h = try Harness()
        let frames: [[UInt8]] = [[0], [1], [1, 99], [9, 1], [1, 1, 0, 0, 0, 0, 255, 255, 255, 255]]
        for bytes in frames {
            let caller = try h.connectCaller()
            try Seqpacket.send(caller.raw, bytes)
            #expect(try h.failure(caller).code == "bad_request")
            #expect(try h.next(caller, "the end") == nil)
        }
        try expectServing(h)
    }

    @Test("A message longer than allowed is refused, its sender closed")
    func oversized() throws {
        let h = try Harness()
        let caller = try h.connectCaller()
        _ = locum_set_buffers(caller.raw, 4 << 20)
        try Seqpacket.send(caller.raw, [UInt8](repeating: 1, count: Seqpacket.longest + 1))
        let failure = try h.failure(caller)
        #expect(failure.code == "bad_request" && failure.message.contains("\(Seqpacket.longest)"))
        try expectServing(h)
    }

    @Test("Descriptors that nobody asked for are closed, not kept")
    func strayDescriptors() throws {
        let h = try Harness()
        for _ in 0..<5 {
            // A pipe shows when its last write end is closed.
            var ends: [Int32] = [-1, -1]
            try check(pipe(&ends), "make a pipe")
            let caller = try h.connectCaller()
            try h.request(caller, .acquireNamed(request: 1, functions: []), Array(repeating: ends[1], count: 250))
            close(ends[1])
            #expect(try h.failure(caller).code == "bad_request")
            _ = locum_set_nonblocking(ends[0], true)
            var byte: UInt8 = 0
            #expect(try h.until("the pipe's end") { read(ends[0], &byte, 1) == 0 ? true : nil })
            close(ends[0])
        }
        try expectServing(h)
    }

    @Test("What a caller may not say closes its connection")
    func forbidden() throws {
        let h = try Harness()
        let requests: [InvokeRequest] = [
            .acquire(request: 1, callees: [0]), .taken(request: 5), .ready(width: 1, experts: 1), .accepted,
            .failed(code: "x", message: "y"),
            .deploy(DeployOptions(name: "m"), files: ["a", "b"], more: false),
            .deploy(DeployOptions(name: "m"), files: [], more: false),
        ]
        for request in requests {
            let caller = try h.connectCaller()
            try h.request(caller, request)
            #expect(try h.failure(caller).code == "bad_request", "\(request)")
            #expect(try h.next(caller, "the end") == nil)
        }
        try expectServing(h)
    }

    @Test("Ten thousand mutated messages, some with descriptors, leave the node serving")
    func fuzz() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        var random = SplitMix64(20)
        let seeds: [[UInt8]] = [
            InvokeRequest.acquireNamed(request: 1, functions: ["m/L00-E000", "nobody"]).frame,
            InvokeRequest.acquire(request: 1, callees: [1, 2, 3]).frame, InvokeRequest.taken(request: 1).frame,
            InvokeRequest.released(links: [1, 2, 3], faulty: true).frame,
            InvokeRequest.ready(width: 1, experts: 1).frame,
            InvokeRequest.deploy(DeployOptions(name: "m"), files: ["config.json"], more: true).frame,
        ]
        var caller = try h.connectCaller()
        for round in 0..<10_000 {
            var bytes = seeds[Int(random.next() % UInt64(seeds.count))]
            for _ in 0..<Int(random.next() % 4) where !bytes.isEmpty {
                let at = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 3 {
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.removeLast(bytes.count - at)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
                }
            }
            if bytes.isEmpty { bytes = [0] }
            let descriptors: [Int32] = random.next() % 8 == 0 ? [0] : []
            do throws(SyscallError) {
                try Seqpacket.send(caller.raw, bytes, descriptors: descriptors, wait: false)
            } catch {
                try h.loop.turn(atMost: 0)
                caller = try h.connectCaller()
            }
            if round % 4 == 0 { try h.loop.turn(atMost: 0) }
            // What node says is read now and then, as a careless peer would.
            if round % 64 == 0 { while (try? Seqpacket.receive(caller.raw, wait: false)) != nil {} }
        }
        try h.settle()
        try expectServing(h)
        #expect(!worker.process.hasEnded)
        try h.command(control, .report(request: 3))
        _ = try h.until("the report") { () -> Bool? in
            if case .usage(3, _) = try h.event(control) { true } else { nil }
        }
    }

    @Test("A worker that sends anything at all is ended, and nobody else")
    func fuzzedWorkers() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let witness = try h.warmInstance(control)
        var random = SplitMix64(21)
        for round in 2...40 as ClosedRange<UInt64> {
            let worker = try h.warmInstance(control, instance: round, function: 100 + round, name: "m/x\(round)")
            let bytes = (0..<1 + random.next() % 40).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            try Seqpacket.send(worker.channel.raw, bytes, wait: false)
            #expect(try h.until("its kill") { worker.process.hasEnded ? true : nil })
            try h.exited(worker, status: SIGKILL)
            guard case .exited(round, _, false, let reason, _) = try h.event(control) else {
                Issue.record("no end")
                return
            }
            #expect(reason.contains("refused"))
        }
        #expect(!witness.process.hasEnded)
    }

    @Test("A frame of control that cannot be read ends the session, not the node")
    func malformedControl() throws {
        let h = try Harness()
        let frames: [[UInt8]] = [[1, 0, 0, 0, 9], [255, 255, 255, 255], [2, 0, 0, 0, 1, 77]]
        for bytes in frames {
            let control = try h.connectControl()
            try h.settle()
            #expect(send(control.raw, bytes, bytes.count, 0) == bytes.count)
            #expect(
                try h.until("the end of the session") {
                    var buffer = [UInt8](repeating: 0, count: 4096)
                    return recv(control.raw, &buffer, buffer.count, LOCUM_MSG_DONTWAIT) == 0 ? true : nil
                })
        }
        try expectServing(h)
    }

    @Test("A caller that asks and never reads is dropped, and others are served meanwhile")
    func deaf() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        let reason = String(repeating: "x", count: 4000)
        var sent: UInt32 = 0
        var isDropped = false
        while !isDropped && sent < 20_000 {
            do throws(SyscallError) {
                try Seqpacket.send(
                    caller.raw, InvokeRequest.acquireNamed(request: sent, functions: ["nobody"]).frame, wait: false)
                sent += 1
            } catch {
                isDropped = error.errno == EPIPE || error.errno == ECONNRESET
                guard !isDropped else { break }
            }
            guard case .acquire(let question, _, _, _, _, _) = try h.event(control) else { continue }
            try h.command(control, .denied(request: question, code: "not_found", message: reason))
            try h.loop.turn(atMost: 0)
            if sent == 1000 { try expectServing(h) }
        }
        #expect(isDropped)
        #expect(sent > 1000)
        try expectServing(h)
    }
}

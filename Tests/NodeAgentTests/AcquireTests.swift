// From a request for functions to links that carry bytes, with node's part real and the others played.
import CLinux
import Glibc
import Link
import Syscall
import Testing
import Wire

@testable import NodeAgent

@Suite(.serialized) struct AcquireTests {
    @Test("Control is greeted once the zygote has said what holds the sandbox")
    func hello() throws {
        let h = try Harness()
        let control = try h.connectControl()
        try h.settle()
        var byte: UInt8 = 0
        #expect(recv(control.raw, &byte, 1, LOCUM_MSG_DONTWAIT) < 0)
        try h.zygoteStarts()
        guard case .hello(let node, let features) = try h.event(control) else {
            Issue.record("no hello")
            return
        }
        #expect(node == "local")
        #expect(features.map(\.name) == ["seccomp", "cgroup", "cpu_weaknesses", "locum-node"])
    }

    @Test("A cold function is asked of control, started, and linked the moment it is ready")
    func cold() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 7, functions: ["m/L00-E000"]))
        guard case .acquire(let question, 0, geteuid(), ["m/L00-E000"], [], _) = try h.event(control) else {
            Issue.record("control was not asked by name")
            return
        }
        let digest = try h.store([1, 2, 3])
        let spec = InstanceSpec(
            instance: 1, function: 10, name: "m/L00-E000", runtime: .expert, digest: digest, lanes: 2)
        try h.command(control, .spawn(spec))
        try h.command(control, .granted(request: question, functions: [10]))
        let worker = try h.order()
        #expect(worker.order.cpus.count == 2)
        #expect(worker.order.shardBytes == 3)
        #expect(fcntl(worker.shard.raw, F_GETFL) & O_ACCMODE == O_RDONLY)
        if geteuid() == 0 { #expect(worker.order.uid != 0) }
        // The worker may be faster than the zygote's report.
        try worker.send(.ready(width: 64, experts: 1))
        try h.settle()
        try h.forked(worker)
        guard case .ready(1, let pid, _) = try h.event(control) else {
            Issue.record("control did not hear that it is ready")
            return
        }
        #expect(pid == UInt32(worker.process.pid))
        let (event, descriptors) = try h.answer(caller)
        guard case .links(7, let arena, let grants, true) = event else {
            Issue.record("no links: \(event)")
            return
        }
        #expect(arena == UInt64(Arena.requestBytes))
        #expect(grants.count == 1 && grants[0].position == 0 && grants[0].width == 64 && grants[0].lanes == 2)
        try #require(descriptors.count == 1 + 2 + 1)
        let offer = try #require(try h.next(worker.channel, "an offer"))
        guard case .accept(let offers) = try InvokeEvent(frame: offer.bytes) else {
            Issue.record("no offer")
            return
        }
        #expect(offers.map(\.link) == grants.map(\.link))
        try #require(offer.descriptors.count == 2 + 2)
        // Lanes are connected in order.
        for lane in 0..<2 {
            try Seqpacket.send(descriptors[1 + lane].raw, [UInt8(lane)])
            #expect(try Seqpacket.receive(offer.descriptors[lane].raw)?.bytes == [UInt8(lane)])
        }
        // What one side writes the other reads, and cannot write.
        let request = try Mapping(descriptors[0].raw, count: Arena.requestBytes, writable: true)
        let seen = try Mapping(offer.descriptors[2].raw, count: Arena.requestBytes, writable: false)
        request.base.storeBytes(of: 42, toByteOffset: 4096, as: UInt8.self)
        #expect(seen.base.load(fromByteOffset: 4096, as: UInt8.self) == 42)
        #expect(throws: SyscallError.self) {
            try Mapping(offer.descriptors[2].raw, count: 4096, writable: true)
        }
        #expect(throws: SyscallError.self) { try Mapping(descriptors[3].raw, count: 4096, writable: true) }
        #expect(throws: Never.self) { try Mapping(offer.descriptors[3].raw, count: 4096, writable: true) }
    }

    @Test("A warm function is linked without asking control, and counted")
    func warm() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        let caller = try h.connectCaller()
        for round in 1...2 as ClosedRange<UInt32> {
            try h.request(caller, .acquireNamed(request: round, functions: ["m/L00-E000"]))
            guard case .links(round, let arena, let grants, true) = try h.answer(caller).event else {
                Issue.record("no links")
                return
            }
            // The caller's own arena comes once.
            #expect((arena > 0) == (round == 1))
            #expect(grants.count == 1)
            try h.request(caller, .taken(request: round))
        }
        try h.command(control, .report(request: 5))
        guard case .warm(2) = try h.event(control), case .usage(5, let usage) = try h.event(control) else {
            Issue.record("no report")
            return
        }
        #expect(usage.map(\.instance) == [1])
        withExtendedLifetime(worker) {}
    }

    @Test("What a tenant's user names is control's to decide, also where it is warm; when that changes its links end")
    func tenants() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        func mode() -> mode_t {
            var info = stat()
            return stat("\(h.path)/run/invoke.sock", &info) == 0 ? info.st_mode & 0o777 : 0
        }
        let before = try h.connectCaller()
        try h.settle()
        #expect(mode() == 0o600)
        try h.command(control, .users([geteuid()], changed: []))
        #expect(try h.failure(before).code == "denied" && mode() == 0o666)
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/L00-E000"]))
        guard case .acquire(let question, 0, geteuid(), ["m/L00-E000"], [], []) = try h.event(control) else {
            Issue.record("control was not asked")
            return
        }
        try h.command(control, .granted(request: question, functions: [10]))
        let (event, kept) = try h.answer(caller)
        guard case .links(1, _, let grants, true) = event else {
            Issue.record("no links: \(event)")
            return
        }
        // It says that it lets go, and keeps its ends.
        try h.request(caller, .taken(request: 1))
        try h.request(caller, .released(links: grants.map(\.link), faulty: false))
        try h.settle()
        try h.command(control, .users([geteuid()], changed: [geteuid()]))
        #expect(try h.failure(caller).code == "denied")
        #expect(try h.until("the end of the instance") { worker.process.hasEnded ? true : nil })
        try h.command(control, .users([], changed: [geteuid()]))
        try h.settle()
        #expect(mode() == 0o600)
        withExtendedLifetime(kept) {}
    }

    @Test("A model is removed when control has done it, or not at all")
    func removal() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        for request in 1...2 as ClosedRange<UInt32> {
            try h.request(caller, .remove(request: request, model: "m"))
            guard case .removing(let number, geteuid(), "m") = try h.event(control) else {
                Issue.record("control was not asked")
                return
            }
            #expect(try h.isSilent(caller))
            try h.command(
                control,
                request == 1
                    ? .removed(request: number) : .denied(request: number, code: "not_found", message: "no model m"))
            switch try h.answer(caller).event {
            case .removed(1): #expect(request == 1)
            case .failed(2, "not_found", "no model m"): #expect(request == 2)
            case let other: Issue.record("\(other)")
            }
        }
        // Control goes, and whoever waits hears of it.
        try h.request(caller, .remove(request: 3, model: "m"))
        _ = try h.event(control)
        shutdown(control.raw, Int32(SHUT_RDWR))
        #expect(try h.failure(caller).code == "unavailable")
    }

    @Test("Many links travel in messages of at most 64, each after the last was taken")
    func flowControl() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        let caller = try h.connectCaller()
        let names = Array(repeating: "m/L00-E000", count: 150)
        try h.request(caller, .acquireNamed(request: 1, functions: names))
        var positions: [UInt32] = []
        var offered = 0
        while positions.count < 150 {
            let (event, descriptors) = try h.answer(caller)
            guard case .links(1, _, let grants, let last) = event else {
                Issue.record("no links")
                return
            }
            #expect(grants.count <= 64 && descriptors.count <= Seqpacket.mostDescriptors)
            positions += grants.map(\.position)
            #expect(last == (positions.count == 150))
            #expect(try h.isSilent(caller))
            try h.request(caller, .taken(request: 1))
        }
        #expect(positions == Array(0..<150))
        while offered < 150 {
            let packet = try #require(try h.next(worker.channel, "an offer"))
            guard case .accept(let offers) = try InvokeEvent(frame: packet.bytes) else {
                Issue.record("no offer")
                return
            }
            #expect(offers.count <= 64 && packet.descriptors.count == offers.count * 4)
            offered += offers.count
            #expect(try h.isSilent(worker.channel))
            try worker.send(.accepted)
        }
    }

    @Test("A request for nothing is answered with nothing")
    func nothing() throws {
        let h = try Harness()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 3, functions: []))
        guard case .links(3, 0, let grants, true) = try h.answer(caller).event else {
            Issue.record("no answer")
            return
        }
        #expect(grants.isEmpty)
    }

    @Test("An instance that dies while it starts is asked for again, three times, then the caller is told why")
    func crashes() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let digest = try h.store([1])
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        for round in 1...3 as ClosedRange<UInt64> {
            guard case .acquire(let question, _, _, let names, let functions, _) = try h.event(control) else {
                Issue.record("control was not asked the \(round). time")
                return
            }
            #expect(round == 1 ? names == ["m/x"] : functions == [10])
            let spec = InstanceSpec(
                instance: round, function: 10, name: "m/x", runtime: .expert, digest: digest, lanes: 1)
            try h.command(control, .spawn(spec))
            try h.command(control, .granted(request: question, functions: [10]))
            let worker = try h.order()
            try h.forked(worker)
            try worker.send(.failed(code: "shard_invalid", message: "the shard has no experts"))
            try h.settle()
            try h.exited(worker, status: 1 << 8)
            guard case .exited(round, _, false, let reason, _) = try h.event(control) else {
                Issue.record("control did not hear of the end")
                return
            }
            #expect(reason.contains("no experts"))
        }
        let failure = try h.failure(caller)
        #expect(failure.code == "crashed")
        #expect(failure.message.contains("no experts"))
    }

    @Test("A shard that is missing fails the start with its reason")
    func missingShard() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        guard case .acquire(let question, _, _, _, _, _) = try h.event(control) else {
            Issue.record("not asked")
            return
        }
        try h.command(
            control,
            .spawn(
                InstanceSpec(
                    instance: 1, function: 10, name: "m/x", runtime: .expert,
                    digest: [UInt8](repeating: 7, count: 32), lanes: 1)))
        try h.command(control, .granted(request: question, functions: [10]))
        guard case .exited(1, -1, false, let reason, _) = try h.event(control) else {
            Issue.record("no end")
            return
        }
        #expect(reason.contains("deploy its model again"))
        // At once: trying again would come to the same.
        let failure = try h.failure(caller)
        #expect(failure.code == "shard_missing" && failure.message.contains("deploy its model again"))
    }

    @Test("What control denies reaches the caller with code and message")
    func denied() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 9, functions: ["nope"]))
        guard case .acquire(let question, _, _, _, _, _) = try h.event(control) else {
            Issue.record("not asked")
            return
        }
        try h.command(control, .denied(request: question, code: "not_found", message: "no function nope"))
        let failure = try h.failure(caller)
        #expect(failure.code == "not_found" && failure.message == "no function nope")
        // The connection goes on.
        try h.request(caller, .acquireNamed(request: 10, functions: []))
        _ = try h.answer(caller)
    }

    @Test("The requests behind an acquisition reach control and the log; what is no name ends the connection")
    func namesRequests() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        let ids = try ["order-66", "b"].map { try #require(RequestID($0)) }
        try h.request(caller, .acquireNamed(request: 1, functions: ["nope"], behalf: ids))
        guard case .acquire(let question, _, _, _, _, ids) = try h.event(control) else {
            Issue.record("control does not hear of the requests")
            return
        }
        try h.command(control, .denied(request: question, code: "not_found", message: "no function nope"))
        _ = try h.failure(caller)
        #expect(h.log.contains("order-66 b functions are refused: no function nope (not_found)"), "\(h.log)")
        let logged = h.log.count
        // Nobody's request: nobody looks for it.
        try h.request(caller, .acquireNamed(request: 2, functions: ["nope"]))
        guard case .acquire(let other, _, _, _, _, []) = try h.event(control) else { return }
        try h.command(control, .denied(request: other, code: "not_found", message: "no function nope"))
        _ = try h.failure(caller)
        #expect(h.log.count == logged)
        var writer = WireWriter()
        for byte in InvokeRequest.acquireNamed(request: 3, functions: []).frame.dropLast(4) { writer.byte(byte) }
        writer.list(["a\nMESSAGE=b"]) { $0.string($1) }
        try Seqpacket.send(caller.raw, writer.bytes, wait: false)
        try h.settle()
        #expect(try h.failure(caller).message.contains("cannot be the name of a request"))
        #expect(h.log.count == logged)
        let many = Array(repeating: ids[0], count: RequestID.most + 1)
        let frame = InvokeRequest.acquireNamed(request: 4, functions: [], behalf: many).frame
        #expect(throws: WireError.self) { try InvokeRequest(frame: frame) }
    }

    @Test("Evicting drains: callers are told, the worker is, and a new request asks control at once")
    func evicts() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/L00-E000"]))
        guard case .links(_, _, let grants, true) = try h.answer(caller).event else { return }
        try h.request(caller, .taken(request: 1))
        _ = try h.next(worker.channel, "the offer")
        try h.command(control, .evict(instances: [1], graceMilliseconds: 5000))
        guard case .revoked(grants.map(\.link)) = try h.answer(caller).event else {
            Issue.record("not revoked")
            return
        }
        let drain = try #require(try h.next(worker.channel, "drain"))
        #expect(try InvokeEvent(frame: drain.bytes) == .drain)
        try h.request(caller, .acquireNamed(request: 2, functions: ["m/L00-E000"]))
        guard case .acquire = try h.event(control) else {
            Issue.record("a draining instance was handed out or waited for")
            return
        }
        try h.exited(worker, status: 0)
        guard case .exited(1, 0, true, _, _) = try h.event(control) else {
            Issue.record("control did not hear of the end")
            return
        }
    }

    @Test("A worker that does not leave in its grace time is killed")
    func grace() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        try h.command(control, .evict(instances: [1], graceMilliseconds: 50))
        #expect(try h.until("the kill") { worker.process.hasEnded ? true : nil })
    }

    @Test("After a crash, a waiting caller's question follows the news of it")
    func crashThenAsk() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        // The worker dies: node sees the channel first, the zygote's report later.
        shutdown(worker.channel.raw, Int32(SHUT_RDWR))
        try h.settle()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/L00-E000"]))
        try h.settle()
        try h.exited(worker, status: SIGSEGV)
        guard case .exited(1, SIGSEGV, false, let reason, _) = try h.event(control) else {
            Issue.record("the end was not told first")
            return
        }
        #expect(reason.contains("signal 11"))
        guard case .acquire(_, _, _, ["m/L00-E000"], [], _) = try h.event(control) else {
            Issue.record("control was not asked again")
            return
        }
    }

    @Test("Without control a request waits five seconds, then says so")
    func noControl() throws {
        let h = try Harness()
        try h.zygoteStarts()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        let before = monotonic()
        let packet = try h.until("the refusal", seconds: 7) { try? Seqpacket.receive(caller.raw, wait: false) }
        guard case .failed(1, "unavailable", let message) = try InvokeEvent(frame: packet.bytes) else {
            Issue.record("no refusal")
            return
        }
        #expect(message.contains("locum up"))
        #expect(monotonic() - before > .milliseconds(4900))
    }

    @Test("A request that came before control is asked when it arrives")
    func lateControl() throws {
        let h = try Harness()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        try h.settle()
        let control = try h.greetedControl()
        guard case .acquire(_, _, _, ["m/x"], [], _) = try h.event(control) else {
            Issue.record("not asked")
            return
        }
    }

    @Test("Control hears nothing before its greeting, also when a request waits")
    func greetingFirst() throws {
        let h = try Harness()
        let caller = try h.connectCaller()
        let control = try h.connectControl()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        try h.settle()
        try h.zygoteStarts()
        guard case .hello = try h.event(control), case .acquire = try h.event(control) else {
            Issue.record("the question came before the greeting, or never")
            return
        }
    }
}

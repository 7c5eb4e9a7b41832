// Sessions, crashes and ends: in doubt, zero, and nothing is left.
import CLinux
import Glibc
import Syscall
import Testing
import Wire

@testable import NodeAgent

@Suite(.serialized) struct LifecycleTests {
    @Test("When control's session ends, every instance is killed and waiting callers are told")
    func controlGoes() throws {
        let h = try Harness()
        var control: Descriptor? = try h.greetedControl()
        let worker = try h.warmInstance(try #require(control))
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/other"]))
        _ = try h.event(try #require(control))
        control = nil
        #expect(try h.failure(caller).code == "unavailable")
        #expect(try h.until("the kill") { worker.process.hasEnded ? true : nil })
        // The next session begins with nothing, and does not hear of what it did not start.
        let second = try h.connectControl()
        guard case .hello = try h.event(second) else {
            Issue.record("no hello")
            return
        }
        try h.exited(worker, status: SIGKILL)
        try h.settle()
        try h.command(second, .report(request: 1))
        guard case .warm(0) = try h.event(second), case .usage(1, let usage) = try h.event(second) else {
            Issue.record("told of an instance of the session before")
            return
        }
        #expect(usage.isEmpty)
    }

    @Test("A new session replaces the old one")
    func replaces() throws {
        let h = try Harness()
        let first = try h.greetedControl()
        let second = try h.connectControl()
        guard case .hello = try h.event(second) else { return }
        var byte: UInt8 = 0
        #expect(try h.until("the end of the first") { recv(first.raw, &byte, 1, LOCUM_MSG_DONTWAIT) == 0 ? true : nil })
    }

    @Test("When the zygote dies, control hears that every instance ended, and a new zygote starts")
    func zygoteDies() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        h.zygotes[0].process.end(SIGKILL)
        guard case .exited(1, -1, false, let reason, _) = try h.event(control) else {
            Issue.record("no end")
            return
        }
        #expect(reason.contains("zygote"))
        #expect(try h.until("a new zygote") { h.zygotes.count == 2 ? true : nil })
        try h.zygoteStarts()
        // It serves as the first one did.
        _ = try h.warmInstance(control, instance: 2)
        withExtendedLifetime(worker) {}
    }

    @Test("A zygote that has forked enough makes way for another one and ends with its last worker")
    func generations() throws {
        let h = try Harness(zygoteForks: 2)
        let control = try h.greetedControl()
        let first = try h.zygote
        let one = try h.warmInstance(control, instance: 1, function: 1, name: "m/one")
        #expect(h.zygotes.count == 1)
        let two = try h.warmInstance(control, instance: 2, function: 2, name: "m/two")
        #expect(try h.until("the next zygote") { h.zygotes.count == 2 ? true : nil })
        try h.zygoteStarts()
        try h.settle()
        // The next worker is forked by the new one; its predecessor's are as they were.
        let three = try h.warmInstance(control, instance: 3, function: 3, name: "m/three")
        #expect(!one.process.hasEnded && !two.process.hasEnded && !h.zygotes[0].process.hasEnded)
        try h.exited(one, status: 0, from: first)
        guard case .exited(1, _, _, _, _) = try h.event(control) else { throw Harness.Missing(what: "the first's end") }
        #expect(!h.zygotes[0].process.hasEnded)
        try h.exited(two, status: 0, from: first)
        #expect(try h.until("the old zygote's end") { h.zygotes[0].process.hasEnded ? true : nil })
        try h.settle()
        #expect(!h.zygotes[1].process.hasEnded && !three.process.hasEnded && h.log.isEmpty)
        // The end of the one that forks now is the end of its workers alone.
        h.zygotes[1].process.end(SIGKILL)
        guard case .exited(2, _, _, _, _) = try h.event(control), case .exited(3, _, _, _, _) = try h.event(control)
        else { throw Harness.Missing(what: "the others' ends") }
    }

    @Test("An instance that a caller complains about ends; a stranger's links are not the caller's to complain about")
    func complaint() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        let (caller, stranger) = (try h.connectCaller(), try h.connectCaller())
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/L00-E000"]))
        guard case .links(_, _, let grants, _) = try h.answer(caller).event else {
            throw Harness.Missing(what: "links")
        }
        try h.request(stranger, .released(links: grants.map(\.link), faulty: true))
        try h.settle()
        #expect(!worker.process.hasEnded)
        try h.request(caller, .released(links: grants.map(\.link), faulty: true))
        #expect(try h.until("its end") { worker.process.hasEnded ? true : nil })
    }

    @Test("Orders given while there is no zygote go to the next one")
    func ordersWait() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        h.zygotes[0].process.end(SIGKILL)
        #expect(try h.until("its end") { h.log.isEmpty ? nil : true })
        let digest = try h.store([1])
        try h.command(
            control,
            .spawn(InstanceSpec(instance: 5, function: 1, name: "m/x", runtime: .expert, digest: digest, lanes: 1)))
        try h.settle()
        #expect(try h.until("a new zygote") { h.zygotes.count == 2 ? true : nil })
        #expect(try h.order().order.instance == 5)
    }

    @Test("The cold start lasts from the caller's request to the first answer in the status page")
    func coldStart() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        guard case .acquire(let question, _, _, _, _, _) = try h.event(control) else { return }
        usleep(20_000)
        let digest = try h.store([1])
        try h.command(
            control,
            .spawn(InstanceSpec(instance: 5, function: 1, name: "m/x", runtime: .expert, digest: digest, lanes: 1)))
        try h.command(control, .granted(request: question, functions: [1]))
        let worker = try h.order()
        try h.forked(worker)
        let page = try Mapping(worker.status.raw, count: 4096, writable: true)
        let status = page.base.assumingMemoryBound(to: locum_status_page.self)
        locum_status_ready(status)
        try worker.send(.ready(width: 1, experts: 1))
        guard case .ready = try h.event(control) else { return }
        locum_status_begin(status)
        locum_status_end(status, 3)
        // The worker reads its shard.
        var byte: UInt8 = 0
        #expect(pread(worker.shard.raw, &byte, 1, 0) == 1)
        try h.command(control, .report(request: UsageReport.detailed | 1))
        guard case .warm = try h.event(control), case .usage(_, let usage) = try h.event(control) else {
            Issue.record("no report")
            return
        }
        let one = try #require(usage.first)
        #expect(one.invocations == 1 && one.rows == 3 && one.active == 0)
        #expect((20_000..<5_000_000).contains(one.coldStartMicroseconds))
        #expect(one.privateBytes > 0)
        #expect(one.shardResidentBytes == 4096)
    }

    @Test("A worker's status page cannot make node trap, whatever it holds")
    func hostilePage() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let worker = try h.warmInstance(control)
        let page = try Mapping(worker.status.raw, count: 4096, writable: true)
        for fill in [0xff, 0x80, 0x7f] as [UInt8] {
            memset(page.base, Int32(fill), 4096)
            try h.command(control, .report(request: 1))
            guard case .warm = try h.event(control), case .usage(1, let usage) = try h.event(control) else {
                Issue.record("no report")
                return
            }
            #expect(usage.count == 1)
        }
    }

    @Test("An expert that makes a request, or a router that names a stranger, is killed")
    func hostileWorkers() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let expert = try h.warmInstance(control)
        try expert.send(.acquire(request: 1, callees: [0]))
        #expect(try h.until("the kill") { expert.process.hasEnded ? true : nil })
        try h.exited(expert, status: SIGKILL)
        guard case .exited(1, _, _, let reason, _) = try h.event(control) else { return }
        #expect(reason.contains("may not make"))
        let router = try h.warmInstance(
            control, instance: 2, function: 20, name: "m/router", runtime: .router, callees: [10])
        try router.send(.acquire(request: 1, callees: [0]))
        guard case .acquire(_, 2, _, [], [10], _) = try h.event(control) else {
            Issue.record("a router's own callee was not asked for")
            return
        }
        try router.send(.acquire(request: 2, callees: [1]))
        #expect(try h.until("the kill") { router.process.hasEnded ? true : nil })
        try h.exited(router, status: SIGKILL)
        guard case .exited(2, _, _, _, _) = try h.event(control) else { return }
        let named = try h.warmInstance(control, instance: 3, function: 20, name: "m/router", runtime: .router)
        try named.send(.acquireNamed(request: 1, functions: ["other/router"]))
        #expect(try h.until("the kill") { named.process.hasEnded ? true : nil })
    }

    @Test("At its end the node tells callers, kills the zygote, removes its sockets and stops")
    func ends() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let caller = try h.connectCaller()
        try h.request(caller, .acquireNamed(request: 1, functions: ["m/x"]))
        _ = try h.event(control)
        h.node.end()
        #expect(try h.failure(caller).code == "unavailable")
        #expect(try h.until("its end", seconds: 1) { h.loop.stopped ? true : nil })
        #expect(h.zygotes[0].process.hasEnded)
        #expect(h.files("run").isEmpty)
    }

    @Test("A second node on the folder says who holds it")
    func locked() throws {
        let h = try Harness()
        do {
            _ = try DataFolder(h.path, patience: .milliseconds(100))
            Issue.record("two nodes on one folder")
        } catch {
            #expect(error.code == "locked")
            #expect(error.message.contains("\(getpid())") && error.message.contains(h.path))
        }
    }
}

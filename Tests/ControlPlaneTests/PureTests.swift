// The parts that do no I/O, by example and by simulation.
import FunctionModel
import Scheduler
import SeededRandom
import Testing
import Wire

@testable import ControlPlane

@Suite struct PureTests {
    private func record(_ id: UInt64, _ runtime: Runtime = .expert) -> FunctionRecord {
        FunctionRecord(
            id: id, model: "m", index: Int(id), name: "m/\(id)", runtime: runtime, digest: [], bytes: 1, experts: 1,
            node: "n")
    }

    @Test("An instance goes from starting through ready and draining to its end, and no other way")
    func transitions() throws {
        var table = InstanceTable()
        try table.start(1, of: record(7), callees: [], now: .zero)
        #expect(table.live(function: 7)?.id == 1)
        #expect(throws: TransitionError.self) { try table.start(2, of: record(7), callees: [], now: .zero) }
        #expect(throws: TransitionError.self) { try table.start(1, of: record(8), callees: [], now: .zero) }
        #expect(throws: TransitionError.self) { try table.ready(9, pid: 1) }
        try table.ready(1, pid: 42)
        #expect(throws: TransitionError.self) { try table.ready(1, pid: 42) }
        #expect(table.drain([1, 1, 5]) == [1])
        #expect(table.live(function: 7) == nil)
        #expect(table[1]?.state == .draining(pid: 42))
        try table.start(2, of: record(7), callees: [], now: .zero)
        _ = try table.exited(1)
        #expect(table.live(function: 7)?.id == 2)
        #expect(throws: TransitionError.self) { try table.exited(1) }
        // Told to leave before it was ready.
        #expect(table.drain([2]) == [2])
        try table.ready(2, pid: 43)
        #expect(table[2]?.state == .draining(pid: 43))
        _ = try table.exited(2)
        #expect(table.isEmpty)
    }

    @Test(
        "A function that is called every minute is kept for the next call; one that nothing is known of goes after 30 s"
    )
    func learned() throws {
        let policy = IdlePolicy(fixed: nil)
        var table = InstanceTable()
        for id in [1, 2] as [UInt64] {
            try table.start(id, of: record(id), callees: [], now: .zero)
            try table.ready(id, pid: 1)
        }
        _ = table.note([1, 2].map { InstanceUsage(instance: $0, invocations: 1, idleMilliseconds: 40_000) })
        var regular = KeepAlive()
        for minute in 0..<20 { regular.arrived(at: .seconds(60 * minute)) }
        let decision = policy.decide(table.all, now: .seconds(1240)) { $0.id == 1 ? regular : nil }
        #expect(decision.evict == [2])
        #expect(try #require(decision.nextLook) > .seconds(20))
    }

    @Test("A router stays for its conversations as long as the operator says, experts do not")
    func sessions() throws {
        let policy = IdlePolicy(fixed: .seconds(5), keepSessions: .seconds(60))
        var table = InstanceTable()
        for id in [1, 2] as [UInt64] {
            try table.start(id, of: record(id, id == 1 ? .router : .expert), callees: [], now: .zero)
            try table.ready(id, pid: 1)
        }
        _ = table.note([1, 2].map { InstanceUsage(instance: $0, invocations: 1, idleMilliseconds: 20_000) })
        let decision = policy.decide(table.all, now: .seconds(100))
        #expect(decision.evict == [2] && decision.nextLook == .seconds(40))
        _ = table.note([InstanceUsage(instance: 1, invocations: 1, idleMilliseconds: 60_000)])
        #expect(policy.decide(table.all, now: .seconds(140)).evict.contains(1))
        // Shorter than the idle time it changes nothing.
        #expect(IdlePolicy(fixed: .seconds(90), keepSessions: .seconds(60)).decide(table.all, now: .zero).evict.isEmpty)
    }

    @Test("A cold start is counted once")
    func coldStartOnce() throws {
        var table = InstanceTable()
        try table.start(1, of: record(7), callees: [], now: .zero)
        #expect(table.note([InstanceUsage(instance: 1), InstanceUsage(instance: 99)]).isEmpty)
        #expect(table.note([InstanceUsage(instance: 1, coldStartMicroseconds: 5)]).map(\.id) == [1])
        #expect(table.note([InstanceUsage(instance: 1, coldStartMicroseconds: 5)]).isEmpty)
    }

    @Test("Percentiles are values that occurred, of the latest values only")
    func percentiles() {
        var distribution = Distribution(most: 100)
        #expect(distribution.percentile(0.5) == nil)
        for value in 1...100 { distribution.add(UInt32(value)) }
        #expect(distribution.percentile(0.5) == 50 && distribution.percentile(0.99) == 99)
        #expect(distribution.percentile(0) == 1 && distribution.percentile(1) == 100)
        for _ in 0..<100 { distribution.add(7) }
        #expect(distribution.percentile(1) == 7)
    }

    @Test(
        "100,000 simulated looks: nobody busy is evicted, nobody idle stays past its time, nothing is looked at for nothing"
    )
    func idleSimulation() throws {
        let timeout = Duration.milliseconds(500)
        let policy = IdlePolicy(fixed: timeout)
        var random = SplitMix64(42)
        var table = InstanceTable()
        var lastUse: [UInt64: Duration] = [:]
        var busyUntil: [UInt64: Duration] = [:]
        var now = Duration.zero
        var next: UInt64 = 1
        var evictions = 0
        for _ in 0..<100_000 {
            // The world moves: new instances, calls that begin and end.
            if Int.random(in: 0..<4, using: &random) == 0, table.count < 20 {
                try table.start(next, of: record(next), callees: [], now: now)
                try table.ready(next, pid: 1)
                lastUse[next] = now
                next += 1
            }
            for instance in table.all where Int.random(in: 0..<6, using: &random) == 0 {
                let end = now + .milliseconds(Int.random(in: 0...900, using: &random))
                busyUntil[instance.id] = max(busyUntil[instance.id] ?? .zero, end)
                lastUse[instance.id] = busyUntil[instance.id]
            }
            let usage = table.all.map { instance -> InstanceUsage in
                let busy = (busyUntil[instance.id] ?? .zero) > now
                let idle = busy ? Duration.zero : now - (lastUse[instance.id] ?? now)
                return InstanceUsage(
                    instance: instance.id, idleMilliseconds: UInt64(idle / .milliseconds(1)), active: busy ? 1 : 0)
            }
            _ = table.note(usage)
            let decision = policy.decide(table.all, now: now)
            for id in decision.evict {
                #expect((busyUntil[id] ?? .zero) <= now)
                #expect(now - (lastUse[id] ?? now) >= timeout)
                evictions += 1
                _ = table.drain([id])
                _ = try table.exited(id)
            }
            // Whoever stays was used within the idle time, up to the granularity of a look.
            for instance in table.all where (busyUntil[instance.id] ?? .zero) <= now {
                #expect(now - (lastUse[instance.id] ?? now) < timeout)
            }
            if let pause = decision.nextLook {
                #expect(pause <= timeout && pause >= IdlePolicy.shortestLook)
                // Events may come sooner than the next look; never later.
                now += Int.random(in: 0..<3, using: &random) == 0 ? pause : pause / 2
            } else {
                #expect(table.isEmpty)
                now += .seconds(1)
            }
        }
        #expect(evictions > 1000)
    }

    @Test("An instance that never becomes ready is given up")
    func startLimit() throws {
        var table = InstanceTable()
        try table.start(1, of: record(1), callees: [], now: .seconds(10))
        let policy = IdlePolicy(fixed: .seconds(5), startLimit: .seconds(60))
        #expect(policy.decide(table.all, now: .seconds(60)).evict.isEmpty)
        #expect(policy.decide(table.all, now: .seconds(70)).evict == [1])
    }

    @Test("A mistyped name finds its neighbours, a strange one finds none")
    func nearest() {
        let names = ["tales-moe", "qwen", "mixtral"]
        #expect(NearestNames.of("tales-mo", among: names) == ["tales-moe"])
        #expect(NearestNames.of("qwne", among: names) == ["qwen"])
        #expect(NearestNames.of("llama-405b", among: names).isEmpty)
    }
}

@Suite("Functions whose instances keep ending") struct CrashLoopTests {
    @Test("are started at once a few times, then after pauses that double, until one of them answers")
    func pauses() {
        var loops = CrashLoops()
        var now = Moment.seconds(100)
        for end in 1...CrashLoops.free {
            #expect(loops.refusal(7, now: now) == nil, "before end \(end)")
            loops.ended(7, hasAnswered: false, reason: "it exited with code 3", now: now)
        }
        #expect(loops.refusal(7, now: now)?.contains("code 3") == true && loops.refusal(8, now: now) == nil)
        var pause = CrashLoops.shortest
        for _ in 0..<10 {
            #expect(loops.isPaused(7, now: now + pause - .milliseconds(1)))
            now += pause
            #expect(!loops.isPaused(7, now: now))
            loops.ended(7, hasAnswered: false, reason: "", now: now)
            pause = min(pause * 2, CrashLoops.longest)
        }
        loops.ended(7, hasAnswered: true, reason: "", now: now)
        #expect(!loops.isPaused(7, now: now))
    }

    @Test("are forgotten when they are replaced")
    func forgotten() {
        var loops = CrashLoops()
        for _ in 0..<CrashLoops.free { loops.ended(7, hasAnswered: false, reason: "", now: .zero) }
        loops.forget([7])
        #expect(!loops.isPaused(7, now: .zero))
    }
}

// Ending instances: by request, by idleness, and what a script reads of it.
import FunctionModel
import Synchronization
import Testing
import Wire

@testable import ControlPlane

@Suite struct EvictTests {
    @Test("Evicting a model ends its router first, then its experts, and returns when all are gone")
    func model() async throws {
        let (controller, node) = try await plane(deployed: [draft("a"), draft("b")])
        _ = await node.acquire(["a/L00-E000", "a/router", "b/router"])
        #expect(try await controller.evict("a").evicted == 2)
        #expect(node.living.count == 1)
        let order = node.state.withLock {
            $0.commands.compactMap { if case .evict(let ids, _) = $0 { ids } else { nil } }
        }
        let router = try #require(node.spawned.first { $0.name == "a/router" })
        #expect(order.first == [router.instance])
        let status = await controller.status(active: 0, queued: 0)
        #expect(status.evictions == 2 && status.crashes == 0 && status.instances == 1)
    }

    @Test("Everything, a model, or one function can be evicted; what does not exist is not found")
    func targets() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/L00-E000", "m/L00-E001", "m/router"])
        #expect(try await controller.evict("m/L00-E000").evicted == 1)
        #expect(try await controller.evict("--all").evicted == 2)
        #expect(try await controller.evict("m").evicted == 0)
        for target in ["n", "m/L09-E000", ""] {
            let error = await #expect(throws: ControlFailure.self) { try await controller.evict(target) }
            #expect(error?.code == "not_found")
        }
    }

    @Test("A wait for an end is over when the session with node is")
    func lostMeanwhile() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router"])
        let router = try #require(node.spawned.first).instance
        node.state.withLock { _ = $0.stubborn.insert(router) }
        async let report = controller.evict("m")
        _ = await node.wait { commands in commands.contains { if case .evict = $0 { true } else { false } } ? true : nil
        }
        await controller.disconnected()
        #expect(try await report.evicted == 1)
    }

    @Test("An instance that is leaving slowly is given a shorter time when someone waits for it")
    func shorterGrace() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router"])
        let router = try #require(node.spawned.first).instance
        node.state.withLock { _ = $0.stubborn.insert(router) }
        await controller.order([router], grace: .seconds(30), because: .idle)
        node.state.withLock { $0.stubborn = [] }
        #expect(try await controller.evict("--all").evicted == 1)
        let graces = node.state.withLock {
            $0.commands.compactMap { if case .evict(_, let grace) = $0 { grace } else { nil } }
        }
        #expect(graces == [30_000, 2_000])
    }

    @Test("What idles is evicted after the idle time, what is busy stays, and an empty table is left alone")
    func idle() async throws {
        let (controller, node) = try await plane(idle: .milliseconds(60))
        _ = await node.acquire(["m/L00-E000", "m/L00-E001"])
        let busy = try #require(node.living("m/L00-E000"))
        node.state.withLock { state in
            state.usage[busy] = InstanceUsage(instance: busy, active: 1)
            for id in state.living.keys where id != busy {
                state.usage[id] = InstanceUsage(instance: id, idleMilliseconds: 1000)
            }
        }
        try await waitUntil { node.living == [busy] }
        node.state.withLock { $0.usage[busy] = InstanceUsage(instance: busy, invocations: 7, idleMilliseconds: 1000) }
        try await waitUntil { node.living.isEmpty }
        try await waitUntil { await controller.watch == nil }
        let looks = node.state.withLock { $0.commands.count }
        try await Task.sleep(for: .milliseconds(200))
        #expect(node.state.withLock { $0.commands.count } == looks)
        let status = await controller.status(active: 0, queued: 0)
        #expect(status.invocations == 7 && status.evictions == 2)
    }

    @Test("ps has a row per process with the keys that scripts read, the router first")
    func rows() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/L00-E002", "m/router"])
        let expert = try #require(node.living("m/L00-E002"))
        node.state.withLock {
            $0.usage[expert] = InstanceUsage(
                instance: expert, invocations: 5, coldStartMicroseconds: 900, privateBytes: 77, shardResidentBytes: 88)
        }
        let rows = await controller.instances()
        #expect(rows.map(\.function) == ["m/router", "m/L00-E002"])
        let row = try #require(rows.last)
        #expect(row.model == "m" && row.runtime == .expert && row.state == "ready" && row.pid == Int(1000 + expert))
        #expect(row.privateBytes == 77 && row.shardResidentBytes == 88 && row.invocations == 5 && row.ageSeconds >= 0)
        let status = await controller.status(active: 1, queued: 2)
        #expect(status.coldStartMicroseconds == Percentiles(p50: 900, p99: 900))
        #expect(status.routerColdStartMicroseconds == Percentiles(p50: nil, p99: nil))
        #expect(status.sandbox == ["seccomp": "in force", "locum-control": "not confined"])
        #expect(status.sequencesActive == 1 && status.sequencesQueued == 2)
    }
}

/// Waits up to 5 s.
func waitUntil(_ holds: () async -> Bool) async throws {
    for _ in 0..<1000 {
        if await holds() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("did not come to hold within 5 s")
}

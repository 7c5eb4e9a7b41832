// What control counts: it never goes down while control lives, whatever node and workers do.
import FunctionModel
import Observability
import Synchronization
import Testing
import Wire

@testable import ControlPlane

@Suite("Metrics of control") struct ControlMetricsTests {
    private func value(_ families: [MetricFamily], _ name: String, _ labels: String...) -> Double? {
        let samples = families.first { $0.name == name }?.samples
        let sample = samples?.first { $0.labels.map(\.value) == labels }
        guard case .number(let value)? = sample?.value else { return nil }
        return value
    }

    @Test("Instances, cold starts, calls, crashes and evictions, across the death of node")
    func counters() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router", "m/L00-E000"])
        _ = await node.acquire(["m/router"])
        let (router, expert) = (try #require(node.living("m/router")), try #require(node.living("m/L00-E000")))
        node.state.withLock {
            $0.usage[router] = InstanceUsage(instance: router, invocations: 5, coldStartMicroseconds: 30_000)
            $0.usage[expert] = InstanceUsage(instance: expert, invocations: 100, coldStartMicroseconds: 2_000)
        }
        node.send(.memory(MemoryUsage(budget: 1000, used: 600, shards: 300, processes: 200, sequences: 100)))
        let begin = await controller.metrics(sequences: [("a", 1, 2), ("", 0, 0)], patience: .seconds(60))
        #expect(value(begin, "locum_instances", "router", "ready") == 1)
        #expect(value(begin, "locum_instances", "expert", "ready") == 1)
        #expect(value(begin, "locum_instances", "expert", "draining") == 0)
        #expect(value(begin, "locum_node_up") == 1 && value(begin, "locum_models") == 1)
        #expect(value(begin, "locum_build_info", "test") == 1)
        #expect(value(begin, "locum_memory_budget_bytes") == 1000 && value(begin, "locum_memory_kv_bytes") == 100)
        #expect(value(begin, "locum_sequences_active", "a") == 1 && value(begin, "locum_sequences_waiting", "a") == 2)
        #expect(value(begin, "locum_cold_starts_total") == 2 && value(begin, "locum_warm_acquisitions_total") == 1)
        #expect(value(begin, "locum_invocations_total") == 105)
        let cold = begin.first { $0.name == "locum_cold_start_seconds" }?.samples.compactMap {
            if case .distribution(let values) = $0.value { values.sum } else { nil }
        }
        #expect(cold == [0.002, 0.03])
        // A worker that takes back what it said, one that crashes, one that is evicted.
        node.state.withLock { $0.usage[expert]?.invocations = 1 }
        let less = await controller.metrics(sequences: [])
        #expect(value(less, "locum_invocations_total") == 105)
        node.crash(expert)
        _ = try await controller.evict("m")
        let ended = await controller.metrics(sequences: [])
        #expect(value(ended, "locum_crashes_total") == 1 && value(ended, "locum_evictions_total") == 1)
        #expect(value(ended, "locum_invocations_total") == 105)
        await controller.disconnected()
        let gone = await controller.metrics(sequences: [])
        #expect(value(gone, "locum_node_up") == 0)
        for name in ["locum_invocations_total", "locum_cold_starts_total", "locum_warm_acquisitions_total"] {
            #expect(value(gone, name) == value(ended, name), "\(name)")
        }
    }

    @Test("A node that hangs is waited for a second, and what was known before is told")
    func hangingNode() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router"])
        let before = await controller.metrics(sequences: [], patience: .seconds(60))
        #expect(value(before, "locum_node_up") == 1)
        node.state.withLock { $0.hangs = true }
        let hanging = await controller.metrics(sequences: [])
        #expect(value(hanging, "locum_node_up") == 0)
        #expect(value(hanging, "locum_instances", "router", "ready") == 1)
        node.state.withLock { $0.hangs = false }
        let after = await controller.metrics(sequences: [], patience: .seconds(60))
        #expect(value(after, "locum_node_up") == 1)
    }

    @Test("What guesses have come to goes on where node begins anew")
    func predictions() {
        func usage(_ model: String, _ used: UInt64, _ late: UInt64, _ wasted: UInt64) -> PredictionUsage {
            PredictionUsage(
                model: model, isOn: true, issued: used + late + wasted, used: used, late: late, wasted: wasted,
                bytesRead: 0, bytesWasted: 0, microsecondsSaved: 0, microsecondsLost: 0)
        }
        func count(_ totals: PredictionTotals, _ outcome: String, _ model: String) -> Double? {
            value([MetricFamily(.counter, "x", "", totals.outcomes.samples)], "x", outcome, model)
        }
        var totals = PredictionTotals()
        totals.note([usage("m", 10, 2, 1), usage("n", 1, 0, 0)])
        totals.note([usage("m", 12, 2, 4), usage("n", 1, 0, 0)])
        #expect(
            count(totals, "used", "m") == 12 && count(totals, "late", "m") == 2 && count(totals, "wasted", "m") == 4)
        totals.nodeEnded()
        totals.note([usage("m", 3, 0, 0)])
        #expect(count(totals, "used", "m") == 15 && count(totals, "used", "n") == 1)
        // Its router began anew.
        totals.note([usage("m", 1, 0, 0)])
        #expect(count(totals, "used", "m") == 16)
    }

    @Test("A function that is not started for a while because it keeps ending is counted as such")
    func paused() async throws {
        // The pause is short: time stands still.
        let (controller, node) = try await plane(now: { .seconds(100) })
        for _ in 0..<CrashLoops.free {
            _ = await node.acquire(["m/L00-E000"])
            node.crash(try #require(node.living("m/L00-E000")))
            _ = await controller.status(active: 0, queued: 0)
        }
        let families = await controller.metrics(sequences: [])
        #expect(value(families, "locum_functions_paused") == 1)
    }

    @Test("Beyond so many tenants those of a gauge share one series")
    func manyTenants() async throws {
        let tenants = try noTenants()
        for index in 0..<230 { _ = try tenants.create("t\(index)", TenantLimits()) }
        let (controller, _) = try await plane()
        let sequences = Sequences(controller: controller, tenants: tenants) { _ throws(RouterUnavailable) in
            throw RouterUnavailable(code: "broken", message: "nobody may come here")
        }
        let families = await LocalControl(
            controller: controller, sequences: sequences, tenants: tenants, metering: Metering(UsageInMemory())
        ).metrics()
        #expect(families.first { $0.name == "locum_sequences_active" }?.samples.count == 201)
        #expect(value(families, "locum_sequences_waiting", "_other") == 0)
        #expect(value(families, "locum_sequences_waiting", "") == 0)
    }
}

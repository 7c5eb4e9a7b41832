// Who used what: sums of routers, memory by time, what cannot be written.
import ControlStore
import FunctionModel
import Logging
import Scheduler
import Synchronization
import Testing
import Wire

@testable import ControlPlane

/// Amounts in memory, which can be told to fail.
final class UsageInMemory: UsageStore {
    let amounts = Mutex<[UsageKey: UsageCounts]>([:])
    let writes = Mutex(0)
    let fails = Mutex(false)

    func add(_ new: [UsageKey: UsageCounts], now: Int64) throws(StoreError) {
        if fails.withLock({ $0 }) { throw StoreError(code: "disk_full", message: "no space") }
        writes.withLock { $0 += 1 }
        amounts.withLock { for (key, counts) in new { $0[key, default: UsageCounts()] += counts } }
    }

    func sums(
        tenant: String?, from: Int64?, to: Int64?
    ) throws(StoreError) -> [(key: UsageKey, counts: UsageCounts)] {
        amounts.withLock { $0.filter { tenant == nil || $0.key.tenant == tenant }.map { ($0.key, $0.value) } }
    }

    let restored = Mutex<[UsageHour]>([])
    func hours(from: Int64) throws(StoreError) -> [UsageHour] {
        amounts.withLock { amounts in amounts.map { UsageHour(hour: 0, $0.key, $0.value) }.filter { $0.hour >= from } }
    }
    func merge(_ hours: [UsageHour]) throws(StoreError) { restored.withLock { $0 += hours } }
}

extension Metering {
    convenience init(
        _ store: UsageInMemory, now: @escaping @Sendable () -> Moment = Controller.monotonic,
        memory: @escaping @Sendable (Bool) async -> [String: Int] = { _ in [:] }
    ) {
        var quiet = Logger(label: "test")
        quiet.logLevel = .critical
        self.init(store: store, logger: quiet, processors: 2, now: now, date: { 1000 }, memory: memory)
    }
}

@Suite("Metering") final class MeteringTests: Sendable {
    private let clock = Mutex(Duration.zero)
    private let store = UsageInMemory()
    private let a = UsageKey(tenant: "a", model: "m", key: "ka")

    @Test("Of a backup only such hours are taken as a record of use can hold, all or none")
    func restores() async throws {
        let metering = Metering(store)
        var counts = UsageCounts()
        counts.requests = 3
        let sound = UsageHour(hour: 3600, UsageKey(tenant: "a", model: "m", key: "locum-12345678"), counts)
        try await metering.restore([sound, UsageHour(hour: 0, UsageKey(tenant: "", model: "m@a", key: ""), counts)])
        #expect(store.restored.withLock { $0.count } == 2)
        let spoils: [@Sendable (inout UsageHour) -> Void] = [
            { $0.hour = -3600 }, { $0.hour = 3601 }, { $0.hour = 3600 * 1000 }, { $0.tenant = "A B" },
            { $0.model = "" },
            { $0.model = "m\u{1b}[2J" }, { $0.key = "secret" }, { $0.requests = -1 }, { $0.coldStarts = .max },
        ]
        for spoil in spoils {
            var bad = sound
            spoil(&bad)
            let error = await #expect(throws: ControlFailure.self) { try await metering.restore([sound, bad]) }
            #expect(error?.code == "bad_request", "\(bad)")
        }
        #expect(store.restored.withLock { $0.count } == 2)
    }
    private let b = UsageKey(tenant: "b", model: "m", key: "kb")

    private func metering() -> Metering { Metering(store, now: { self.clock.withLock { $0 } }) }
    private func pass(_ seconds: Double) { clock.withLock { $0 += .seconds(seconds) } }
    private func written(_ metering: Metering, _ key: UsageKey) -> UsageCounts {
        metering.write()
        return store.amounts.withLock { $0[key] ?? UsageCounts() }
    }

    @Test("A router's sums count once, however often it tells them, and each router's for itself")
    func sums() {
        let metering = metering()
        let first = metering.begin(a)
        pass(1)
        let cost = SequenceCost(expertNanoseconds: 5_000_000, coldStarts: 2, cacheByteMilliseconds: 3_000_000)
        first.used(cost)
        first.used(cost)
        // A sum that is smaller than one before takes nothing back.
        first.used(SequenceCost())
        let second = metering.begin(a)
        pass(1)
        second.used(SequenceCost(expertNanoseconds: 1_000_000))
        let counts = written(metering, a)
        #expect(counts.expertMicroseconds == 6000 && counts.coldStarts == 2 && counts.kilobyteMilliseconds == 3000)
        #expect(written(metering, a) == counts, "nothing is written twice")
    }

    @Test("What a router says that it computed is at most what its processors could")
    func lies() {
        let metering = metering()
        let meter = metering.begin(a)
        pass(1)
        meter.used(SequenceCost(expertNanoseconds: .max, coldStarts: .max, cacheByteMilliseconds: .max))
        // One second that passed, and one for what came at its edges, on two processors.
        #expect(written(metering, a).expertMicroseconds == 4_000_000)
        meter.used(SequenceCost(expertNanoseconds: .max, coldStarts: .max, cacheByteMilliseconds: .max))
        #expect(written(metering, a).expertMicroseconds == 4_000_000)
    }

    @Test("A model's memory is paid by the time of sequences, then by the last one's, and caches by their own")
    func memory() {
        let metering = metering()
        let first = metering.begin(a)
        pass(1)
        var second: SequenceMeter? = metering.begin(b)
        pass(1)
        // Of 2 s at 1000 to 3000 kB: a was there for 2 s, b for 1 s.
        #expect(!metering.look(["m": 2_000_000]))
        let half = 2000 * 1000
        #expect(written(metering, a).kilobyteMilliseconds == Int64(half * 2 / 3))
        #expect(written(metering, b).kilobyteMilliseconds == Int64(half / 3))
        second = nil
        _ = second
        pass(1)
        // a's cache has its own 500 of 2000 kB; the rest is a's as well, which is there alone.
        first.used(SequenceCost(cacheByteMilliseconds: 500_000 * 1000))
        #expect(!metering.look(["m": 2_000_000]))
        #expect(written(metering, a).kilobyteMilliseconds == Int64(half * 2 / 3) + 2000 * 1000)
        withExtendedLifetime(first) {}
    }

    @Test("What is kept warm after the last sequence is its tenant's, until there is nothing")
    func idle() {
        let metering = metering()
        do { _ = metering.begin(a) }
        do { _ = metering.begin(b) }
        pass(1)
        _ = metering.look(["m": 1_000_000, "other": 5])
        pass(2)
        #expect(!metering.look(["m": 1_000_000]))
        #expect(written(metering, b).kilobyteMilliseconds == 500 * 1000 + 1000 * 2000)
        pass(1)
        #expect(metering.look([:]), "nothing is left to look at")
        #expect(written(metering, a).kilobyteMilliseconds == 0)
        // Nobody's, but some process's of that time.
        #expect(store.amounts.withLock { Set($0.keys) } == [a, b] || store.amounts.withLock { Set($0.keys) } == [b])
    }

    @Test("What cannot be written is kept, and written when it can be")
    func fullDisk() {
        let metering = metering()
        store.fails.withLock { $0 = true }
        metering.count(a) { $0.requests += 1 }
        #expect(written(metering, a).requests == 0)
        metering.count(a) { $0.requests += 1 }
        store.fails.withLock { $0 = false }
        #expect(written(metering, a).requests == 2)
    }

    @Test(
        "A request's tokens, its key and the router that was started for it are counted; a crash counts no token twice")
    func requests() async throws {
        let (controller, _) = try await plane()
        let tenants = try Tenants(store: MemoryStore(), logger: controller.logger) { 1000 }
        _ = try tenants.create("a", TenantLimits())
        let key = try tenants.createKey(for: "a")
        let routers = Mutex([FakeRouter(.dies(after: 3)), FakeRouter(.lives)])
        let metering = metering()
        let sequences = Sequences(controller: controller, tenants: tenants, metering: metering) {
            _ throws(RouterUnavailable) in
            routers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
        }
        let spec = GenerateSpec(prompt: .tokens([1, 2, 3]), maxTokens: 8)
        for stream in try await sequences.generate("m", [spec, spec], for: try tenants.caller(showing: key.key)) {
            for await _ in stream {}
        }
        let counts = written(metering, UsageKey(tenant: "a", model: "m", key: key.id))
        #expect(counts.requests == 1 && counts.promptTokens == 6 && counts.outputTokens == 16)
        #expect(counts.coldStarts == 2, "the first router and the one after the crash")
    }
}

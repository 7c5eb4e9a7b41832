// What happens is told, in order, to whoever looks and whoever keeps looking; nobody can make it grow without bound.
import FunctionModel
import Logging
import Synchronization
import Testing
import Wire

@testable import ControlPlane

@Suite("Events") struct EventTests {
    @Test("The latest are kept, and numbers show what is not")
    func bounded() {
        let feed = Feed<Int>(most: 3)
        #expect(feed.latest == [])
        for _ in 0..<2 { feed.add { $0 } }
        #expect(feed.latest == [1, 2])
        for _ in 0..<5 { feed.add { $0 } }
        #expect(feed.latest == [5, 6, 7])
    }

    @Test("A follower gets what is kept and what comes, each once, until it or the feed ends")
    func follow() async {
        let feed = Feed<Int>(most: 100)
        for _ in 0..<3 { feed.add { $0 } }
        let (first, stop) = feed.follow()
        let (second, _) = feed.follow()
        for _ in 0..<2 { feed.add { $0 } }
        stop()
        stop()
        feed.add { $0 }
        feed.close()
        feed.add { $0 }
        var (seen, seenToo): ([Int], [Int]) = ([], [])
        for await number in first { seen.append(number) }
        for await number in second { seenToo.append(number) }
        #expect(seen == [1, 2, 3, 4, 5] && seenToo == [1, 2, 3, 4, 5, 6])
        // Who comes after the end gets what is kept, and the end.
        var late: [Int] = []
        for await number in feed.follow().elements { late.append(number) }
        #expect(late == [1, 2, 3, 4, 5, 6, 7])
    }

    @Test("A follower that does not keep up misses the oldest, and holds nobody up")
    func slow() async {
        let feed = Feed<Int>(most: 10)
        let (elements, stop) = feed.follow()
        for _ in 0..<100_000 { feed.add { $0 } }
        stop()
        var seen: [Int] = []
        for await number in elements { seen.append(number) }
        #expect(seen == Array(99_991...100_000))
    }

    private func kinds(_ log: EventLog, _ subject: String) -> [EventReport.Kind] {
        log.feed.latest.filter { $0.subject == subject }.map(\.kind)
    }

    @Test("An instance's life: started, ended and why")
    func instances() async throws {
        let (controller, node) = try await plane()
        let log = controller.events
        #expect(kinds(log, "n1") == [.node])
        _ = await node.acquire(["m/router", "m/L00-E000", "m/L00-E001"])
        _ = await controller.status(active: 0, queued: 0)
        node.crash(try #require(node.living("m/L00-E000")))
        node.send(.superfluous(instances: [try #require(node.living("m/L00-E001"))]))
        _ = await controller.status(active: 0, queued: 0)
        _ = try await controller.evict("m")
        #expect(kinds(log, "m/L00-E000") == [.coldStart, .crash])
        #expect(kinds(log, "m/L00-E001") == [.coldStart, .memory, .evict])
        #expect(kinds(log, "m/router") == [.coldStart, .evict])
        let words = log.feed.latest.filter { $0.kind == .evict }.map(\.message)
        #expect(
            words == ["m/L00-E001 was ended: others needed its memory", "m/router was ended: somebody asked for it"])
        #expect(await controller.leaving.isEmpty)
        _ = try await controller.remove("m")
        await controller.disconnected()
        #expect(kinds(log, "m") == [.remove] && kinds(log, "node") == [.node])
        let numbers = log.feed.latest.map(\.number)
        #expect(numbers == Array(1...numbers.count))
    }

    @Test("Changes of tenants and keys are told, what is refused is not, and no key is in it")
    func tenants() throws {
        let log = EventLog { 5 }
        let tenants = try Tenants(store: MemoryStore(), logger: Logger(label: "test"), events: log) { 1 }
        _ = try tenants.create("a", TenantLimits())
        _ = try? tenants.create("a", TenantLimits())
        _ = try tenants.set("a") { $0.weight = 2 }
        let (key, admin) = (try tenants.createKey(for: "a"), try tenants.createKey(.admin))
        _ = try? tenants.revokeKey("locum-nobodys")
        _ = try tenants.revokeKey(key.id)
        _ = try tenants.revokeKey(admin.key)
        _ = try tenants.remove("a")
        let events = log.feed.latest
        #expect(events.map(\.kind) == [.tenant, .tenant, .key, .key, .key, .key, .tenant])
        #expect(events.map(\.subject) == ["a", "a", key.id, admin.id, key.id, admin.id, "a"])
        #expect(events[3].message == "the key \(admin.id)… (an admin key) was made" && events[3].time == 5)
        #expect(!events.contains { $0.message.contains(key.key) || $0.message.contains(admin.key) })
    }
}

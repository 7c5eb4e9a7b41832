// Turns among tenants, in simulated time: shares by weight, nobody starves, nobody runs twice.
import Scheduler
import SeededRandom
import Testing

@Suite("Turns among tenants") struct FairQueueTests {
    /// Tenants that always want more, served for a while; answers the seconds of places that each had.
    private func served(
        _ shares: [String: FairShare], places: Int, seconds: Double, length: (String, inout SplitMix64) -> Double
    ) -> [String: Double] {
        var (queue, random) = (FairQueue(places: places), SplitMix64(7))
        var (ticket, owners): (UInt64, [UInt64: String]) = (0, [:])
        var running: [(ticket: UInt64, began: Double, ends: Double)] = []
        var had = shares.mapValues { _ in 0.0 }
        var now = 0.0
        func start(_ ticket: UInt64) {
            running.append((ticket, now, now + length(owners[ticket] ?? "", &random)))
        }
        func add(_ tenant: String, _ share: FairShare) {
            ticket += 1
            owners[ticket] = tenant
            if queue.enter(ticket, of: tenant, share, now: .seconds(now)) { start(ticket) }
        }
        for (tenant, share) in shares.sorted(by: { $0.key < $1.key }) { for _ in 0..<4 { add(tenant, share) } }
        while now < seconds, let next = running.indices.min(by: { running[$0].ends < running[$1].ends }) {
            let done = running.remove(at: next)
            now = done.ends
            guard let tenant = owners.removeValue(forKey: done.ticket), let share = shares[tenant] else { break }
            had[tenant, default: 0] += done.ends - done.began
            for started in queue.leave(tenant, now: .seconds(now)) { start(started) }
            add(tenant, share)
        }
        return had
    }

    /// Jain's index of what each had for its weight: 1 is fair.
    private func jain(_ had: [String: Double], _ shares: [String: FairShare]) -> Double {
        let each = had.map { $0.value / Double(shares[$0.key]?.weight ?? 1) }
        let sum = each.reduce(0, +)
        return sum * sum / (Double(each.count) * each.reduce(0) { $0 + $1 * $1 })
    }

    @Test("Time goes by weight, whatever the length of what each asks", arguments: [1, 2, 8])
    func shares(_ places: Int) {
        let shares = ["a": FairShare(weight: 1), "b": FairShare(weight: 2), "c": FairShare(weight: 4)]
        let had = served(shares, places: places, seconds: 4000) { tenant, random in
            (tenant == "a" ? 5 : 0.5) * (0.5 + random.unit())
        }
        // With eight places each of them has its four at once nearly always: then there is nothing to share out.
        if places < 8 { #expect(jain(had, shares) > 0.98, "\(had)") }
        #expect(had.values.allSatisfy { $0 > 0 })
    }

    @Test("Batch work takes what is left, keeps a place free for others, and does not starve")
    func batch() {
        let shares = ["a": FairShare(), "b": FairShare(weight: 100, isBatch: true)]
        let had = served(shares, places: 2, seconds: 3000) { _, random in 0.5 + random.unit() }
        // One turn a minute and more is patience's.
        #expect((had["b"] ?? 0) > 3000 / 60 * 0.4 && (had["b"] ?? 0) < 0.1 * (had["a"] ?? 0), "\(had)")
        var queue = FairQueue(places: 2)
        let first = queue.enter(1, of: "b", FairShare(isBatch: true), now: .zero)
        let second = queue.enter(2, of: "b", FairShare(isBatch: true), now: .zero)
        let third = queue.enter(3, of: "a", FairShare(), now: .zero)
        #expect(first && !second && third)
        let (after, last) = (queue.leave("a", now: .seconds(1)), queue.leave("b", now: .seconds(2)))
        #expect(after.isEmpty && last == [2])
    }

    @Test("Who comes back goes first, but does not make up for the time away")
    func returning() {
        var queue = FairQueue(places: 1)
        for ticket in 1...100 { _ = queue.enter(UInt64(ticket), of: "a", FairShare(), now: .zero) }
        for second in 1...50 {
            let next = queue.leave("a", now: .seconds(second))
            #expect(next == [UInt64(second) + 1])
        }
        for ticket in 201...210 { _ = queue.enter(UInt64(ticket), of: "b", FairShare(), now: .seconds(50)) }
        var owners: [Bool] = []
        var running = "a"
        for second in 51...70 {
            let next = queue.leave(running, now: .seconds(second))
            let isB = next.first.map { $0 > 200 } ?? false
            owners.append(isB)
            running = isB ? "b" : "a"
        }
        #expect(owners.first == true)
        // Ahead by its credit of a second, then in turns.
        #expect((9...11).contains(owners.count { $0 }), "\(owners)")
    }

    @Test("A hundred thousand random steps keep every promise")
    func simulation() {
        var (queue, random) = (FairQueue(places: 5), SplitMix64(11))
        var shares: [String: FairShare] = [:]
        for index in 0..<20 {
            shares["t\(index)"] = FairShare(weight: 1 + random.below(9), isBatch: index % 4 == 0)
        }
        let names = shares.keys.sorted()
        var (ticket, now) = (UInt64(0), 0.0)
        var (running, waiting): ([UInt64: String], [UInt64: (tenant: String, since: Double)]) = ([:], [:])
        var longest = 0.0
        for _ in 0..<100_000 {
            now += 0.05 * random.unit()
            let tenant = names[random.below(names.count)]
            switch random.below(10) {
            case 0..<5 where waiting.count < 60:
                ticket += 1
                if queue.enter(ticket, of: tenant, shares[tenant] ?? FairShare(), now: .seconds(now)) {
                    running[ticket] = tenant
                } else {
                    waiting[ticket] = (tenant, now)
                }
            case 5..<9:
                guard let (done, owner) = running.min(by: { $0.key < $1.key }) else { continue }
                running[done] = nil
                for next in queue.leave(owner, now: .seconds(now)) {
                    guard let waited = waiting.removeValue(forKey: next) else {
                        Issue.record("ticket \(next) did not wait")
                        return
                    }
                    longest = max(longest, now - waited.since)
                    running[next] = waited.tenant
                }
            default:
                guard let (gone, waited) = waiting.min(by: { $0.key > $1.key }) else { continue }
                let (once, twice) = (
                    queue.cancel(gone, of: waited.tenant), queue.cancel(gone, of: waited.tenant)
                )
                #expect(once && !twice)
                waiting[gone] = nil
            }
            #expect(running.count <= 5 && queue.running == running.count && queue.waiting == waiting.count)
            // Nobody waits beside a free place that it may have.
            if running.count < 4 { #expect(waiting.isEmpty) }
            if running.count < 5 { #expect(waiting.values.allSatisfy { shares[$0.tenant]?.isBatch == true }) }
        }
        #expect(longest < 120, "somebody waited \(longest) s")
        for tenant in names {
            let count = running.values.count { $0 == tenant } + waiting.values.count { $0.tenant == tenant }
            #expect(queue.tickets(of: tenant) == count)
        }
    }

    @Test("A bucket of tokens gives what it has, owes what was taken beyond, and fills by the minute")
    func bucket() {
        var bucket = TokenBucket(perMinute: 600, now: .zero)
        #expect(bucket.balance(now: .zero) == 600 && bucket.wait(now: .zero) == .zero)
        bucket.spend(599, now: .zero)
        #expect(bucket.wait(now: .zero) == .zero)
        bucket.spend(101, now: .zero)
        #expect(bucket.balance(now: .zero) == -100)
        #expect(bucket.wait(now: .zero) > .seconds(10) && bucket.wait(now: .zero) < .seconds(10.2))
        #expect(bucket.wait(now: .seconds(10.2)) == .zero && bucket.balance(now: .seconds(20)) == 100)
        #expect(bucket.balance(now: .seconds(3600)) == 600 && bucket.untilFull(now: .seconds(70)) == .zero)
        // A clock that stands still or goes back gives nothing.
        bucket.spend(600, now: .seconds(3600))
        #expect(bucket.balance(now: .seconds(3000)) == 0)
    }
}

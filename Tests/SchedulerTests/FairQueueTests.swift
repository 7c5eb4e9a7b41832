// Turns among tenants, in simulated time: shares by weight, nobody starves, nobody runs twice.
import Scheduler
import SeededRandom
import Testing

@Suite("Turns among tenants") struct FairQueueTests {
    /// Tenants that always want more, served for a while; answers the seconds of places that each had.
    private func served(
        _ shares: [String: FairShare], places: Int, seconds: Double, backlog: Int = 4,
        length: (String, inout SplitMix64) -> Double
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
            for started in queue.enter(ticket, of: tenant, share, now: .seconds(now)) { start(started) }
        }
        for (tenant, share) in shares.sorted(by: { $0.key < $1.key }) { for _ in 0..<backlog { add(tenant, share) } }
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

    @Test(
        "Batch work takes what is left, leaves a place to others, and has a turn a minute whoever waits",
        arguments: [4, 64])
    func batch(_ backlog: Int) {
        let shares = ["a": FairShare(), "b": FairShare(weight: 100, isBatch: true)]
        let had = served(shares, places: 2, seconds: 3000, backlog: backlog) { _, random in 0.5 + random.unit() }
        let turns = had["b"] ?? 0
        #expect(turns > 3000 / 60 * 0.4 && turns < 3000 / 60 * 2, "\(had)")
        var queue = FairQueue(places: 2)
        let first = queue.enter(1, of: "b", FairShare(isBatch: true), now: .zero).contains(1)
        let second = queue.enter(2, of: "b", FairShare(isBatch: true), now: .zero).contains(2)
        let third = queue.enter(3, of: "a", FairShare(), now: .zero).contains(3)
        #expect(first && !second && third)
        let (after, last) = (queue.leave("a", now: .seconds(1)), queue.leave("b", now: .seconds(2)))
        #expect(after.isEmpty && last == [2])
    }

    @Test("Who comes anew does not get all turns because somebody's clock stands far behind")
    func newcomer() {
        var queue = FairQueue(places: 4)
        // One sequence of h runs on and on; a has the other places; then b comes.
        _ = queue.enter(1, of: "h", FairShare(weight: 1000), now: .zero)
        for ticket in 2...60 { _ = queue.enter(UInt64(ticket), of: "a", FairShare(), now: .zero) }
        for second in 1...29 { _ = queue.leave("a", now: .seconds(second * 10)) }
        for ticket in 101...160 { _ = queue.enter(UInt64(ticket), of: "b", FairShare(), now: .seconds(290)) }
        var running = ["a", "a", "a"]
        var turns = ["a": 0, "b": 0]
        for second in 291...320 {
            for ticket in queue.leave(running.removeFirst(), now: .seconds(second)) {
                let tenant = ticket > 100 ? "b" : "a"
                turns[tenant, default: 0] += 1
                running.append(tenant)
            }
        }
        #expect((turns["a"] ?? 0) >= 10 && (turns["b"] ?? 0) >= 10, "\(turns)")
    }

    @Test("A spare place is for a tenant that has none and is owed one; a flood does not get it, nor does batch work")
    func spare() {
        var queue = FairQueue(places: 2, spare: 2)
        for ticket in 1...10 { _ = queue.enter(UInt64(ticket), of: "flood", FairShare(), now: .zero) }
        #expect(queue.running == 2)
        let batch = queue.enter(11, of: "batch", FairShare(isBatch: true), now: .seconds(5)).contains(11)
        let first = queue.enter(12, of: "a", FairShare(), now: .seconds(5)).contains(12)
        let second = queue.enter(13, of: "a", FairShare(), now: .seconds(5)).contains(13)
        let other = queue.enter(14, of: "b", FairShare(), now: .seconds(5)).contains(14)
        let third = queue.enter(15, of: "c", FairShare(), now: .seconds(5)).contains(15)
        #expect(!batch && first && !second && other && !third && queue.running == 4)
        // What ends above the places is nobody's turn; at its next request its tenant goes first again.
        let (afterA, afterB) = (queue.leave("a", now: .seconds(6)), queue.leave("b", now: .seconds(6)))
        #expect(afterA == [15] && afterB == [13], "the spare places are the next ones', of those that have none")
        let full = queue.enter(16, of: "b", FairShare(), now: .seconds(6)).contains(16)
        #expect(!full && queue.running == 4)
        let (afterC, last) = (queue.leave("c", now: .seconds(7)), queue.leave("a", now: .seconds(7)))
        #expect(
            afterC == [16] && last.isEmpty, "what ends above the places is no turn of the flood's, nor of batch work")
        // Who has had more than the others lately waits its turn.
        var busy = FairQueue(places: 1, spare: 1)
        _ = busy.enter(1, of: "x", FairShare(), now: .zero)
        _ = busy.leave("x", now: .seconds(100))
        _ = busy.enter(2, of: "y", FairShare(weight: 100), now: .seconds(100))
        let back = busy.enter(3, of: "x", FairShare(), now: .seconds(100)).contains(3)
        #expect(back, "nobody was there: nothing is owed")
        let turns = busy.leave("x", now: .seconds(140))
        let greedy = busy.enter(5, of: "x", FairShare(), now: .seconds(140)).contains(5)
        #expect(turns.isEmpty && !greedy, "by its weight it has had a hundred times as much as y")
    }

    @Test("Who asks for one thing after another has no more than its share")
    func oneByOne() {
        var queue = FairQueue(places: 1)
        var (now, ticket, owner) = (0.0, UInt64(0), "b")
        var had = ["a": 0.0, "b": 0.0]
        _ = queue.enter(0, of: "b", FairShare(), now: .zero)
        for _ in 0..<3 {
            ticket += 1
            _ = queue.enter(ticket, of: "a", FairShare(), now: .zero)
        }
        while now < 500 {
            let took = owner == "b" ? 0.9 : 0.1
            now += took
            had[owner, default: 0] += took
            let started = queue.leave(owner, now: .seconds(now))
            // Either asks again when it has its answer: b one at a time, a always has some waiting.
            ticket += 1
            let again = ticket + (owner == "b" ? 1 << 32 : 0)
            let runs = queue.enter(again, of: owner, FairShare(), now: .seconds(now)).contains(again)
            owner = (started.first ?? (runs ? again : 0)) >> 32 > 0 ? "b" : "a"
        }
        #expect((had["a"] ?? 0) > 0.4 * now, "\(had)")
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

    @Test("Of many that ask one thing after another none waits long because others come and have a spare place")
    func crowd() {
        var (queue, random, now) = (FairQueue(places: 8, spare: 8), SplitMix64(3), 0.0)
        var since = (0..<60).map { _ in 0.0 }
        var longest = since
        var running: [(tenant: Int, ends: Double)] = []
        func begin(_ tickets: [UInt64]) {
            for ticket in tickets {
                let tenant = Int(ticket % 60)
                longest[tenant] = max(longest[tenant], now - since[tenant])
                running.append((tenant, now + 0.05 + 0.1 * random.unit()))
            }
        }
        var ticket: UInt64 = 0
        for tenant in 0..<60 { begin(queue.enter(UInt64(tenant), of: "t\(tenant)", FairShare(), now: .zero)) }
        for round in 1...4000 {
            guard let next = running.indices.min(by: { running[$0].ends < running[$1].ends }) else { break }
            let done = running.remove(at: next)
            now = done.ends
            begin(queue.leave("t\(done.tenant)", now: .seconds(now)))
            since[done.tenant] = now
            ticket = UInt64(round * 60 + done.tenant)
            begin(queue.enter(ticket, of: "t\(done.tenant)", FairShare(), now: .seconds(now)))
        }
        // A round of all takes 60 / 8 to 60 / 16 times a tenth of a second.
        #expect((longest.max() ?? 9) < 1.2, "\(longest)")
    }

    @Test(
        "What experts compute counts: who asks for more of it has fewer turns, who holds a place for nothing pays a quarter"
    )
    func work() {
        var (queue, random, now) = (FairQueue(places: 4), SplitMix64(5), 0.0)
        // Experts' seconds per second of a place, and how long each of its tickets runs.
        let load: [(work: Double, length: Double)] = [(1.5, 2), (0.3, 1), (0.6, 0.3), (0, 1)]
        var had = load.map { _ in (computed: 0.0, held: 0.0) }
        var (running, ticket): ([(tenant: Int, told: Double, ends: Double)], UInt64) = ([], 0)
        func begin(_ tickets: [UInt64]) {
            for ticket in tickets {
                let tenant = Int(ticket % 4)
                running.append((tenant, now, now + load[tenant].length * (0.5 + random.unit())))
            }
        }
        func ask(_ tenant: Int) {
            ticket += 1
            begin(queue.enter(ticket * 4 + UInt64(tenant), of: "t\(tenant)", FairShare(), now: .seconds(now)))
        }
        for _ in 0..<6 { for tenant in 0..<4 { ask(tenant) } }
        while now < 1000 {
            // Each tells every half second and at its end.
            guard
                let next = running.indices.min(by: {
                    min(running[$0].ends, running[$0].told + 0.5) < min(running[$1].ends, running[$1].told + 0.5)
                })
            else { break }
            let one = running[next]
            now = min(one.ends, one.told + 0.5)
            let (held, computed) = (now - one.told, (now - one.told) * load[one.tenant].work)
            had[one.tenant] = (had[one.tenant].computed + computed, had[one.tenant].held + held)
            queue.note("t\(one.tenant)", computed: .seconds(computed), held: .seconds(held), now: .seconds(now))
            running[next].told = now
            if now < one.ends { continue }
            running.remove(at: next)
            begin(queue.leave("t\(one.tenant)", now: .seconds(now)))
            ask(one.tenant)
        }
        let computed = had.prefix(3).map(\.computed)
        let mean = computed.reduce(0, +) / 3
        #expect(computed.allSatisfy { abs($0 / mean - 1) < 0.05 }, "\(had)")
        // What they compute at 0.8 of it a second on average is worth four times the place that is held for nothing.
        #expect(had[3].held < 1.1 * 4 * mean / 0.8, "\(had)")
    }

    @Test("A hundred thousand random steps keep every promise", arguments: [0, 3])
    func simulation(_ spare: Int) {
        var (queue, random) = (FairQueue(places: 5, spare: spare), SplitMix64(11))
        var shares: [String: FairShare] = [:]
        for index in 0..<20 {
            shares["t\(index)"] = FairShare(weight: 1 + random.below(9), isBatch: index % 4 == 0)
        }
        let names = shares.keys.sorted()
        var (ticket, now) = (UInt64(0), 0.0)
        var (running, waiting): ([UInt64: String], [UInt64: (tenant: String, since: Double)]) = ([:], [:])
        var longest = 0.0
        func begin(_ tickets: [UInt64]) {
            for next in tickets {
                guard let waited = waiting.removeValue(forKey: next) else {
                    Issue.record("ticket \(next) did not wait")
                    continue
                }
                longest = max(longest, now - waited.since)
                running[next] = waited.tenant
            }
        }
        for _ in 0..<100_000 {
            now += 0.05 * random.unit()
            let tenant = names[random.below(names.count)]
            switch random.below(10) {
            case 0..<5 where waiting.count < 60:
                ticket += 1
                waiting[ticket] = (tenant, now)
                begin(queue.enter(ticket, of: tenant, shares[tenant] ?? FairShare(), now: .seconds(now)))
            case 5..<9:
                guard let (done, owner) = running.min(by: { $0.key < $1.key }) else { continue }
                running[done] = nil
                begin(queue.leave(owner, now: .seconds(now)))
                // It is known what it has cost, whatever that was.
                queue.note(
                    owner, computed: .seconds(random.unit()), held: .seconds(random.unit()), now: .seconds(now))
            default:
                guard let (gone, waited) = waiting.min(by: { $0.key > $1.key }) else { continue }
                let (once, twice) = (
                    queue.cancel(gone, of: waited.tenant), queue.cancel(gone, of: waited.tenant)
                )
                #expect(once && !twice)
                waiting[gone] = nil
            }
            #expect(running.count <= 5 + spare && queue.running == running.count && queue.waiting == waiting.count)
            // Nobody waits beside a free place that it may have.
            if running.count < 4 { #expect(waiting.isEmpty) }
            if running.count < 5 { #expect(waiting.values.allSatisfy { shares[$0.tenant]?.isBatch == true }) }
        }
        #expect(longest < 300, "somebody waited \(longest) s")
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

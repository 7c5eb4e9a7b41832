// What the policies are worth on traces, and what Locum's promises. Everything starts cold. A debug build tries three
// policies at half residency; LOCUM_POLICY_TABLE=1 (with `-c release`) tries all on longer
// traces and prints the table that stands in LocumPolicy.swift.
import Foundation
import Scheduler
import SeededRandom
import Testing

@Suite struct PolicyTests {
    private static let isLong = ProcessInfo.processInfo.environment["LOCUM_POLICY_TABLE"] != nil
    private static let shares = isLong ? [0.25, 0.5, 0.75] : [0.5]
    private static let policies: [PolicyName] = isLong ? PolicyName.allCases : [.lru, .belady, .locum]

    /// Hit rates in points by policy, for each share of the bytes; none above Belady's.
    private func rates(_ trace: AccessTrace, _ name: String) throws -> [PolicyName: [Double]] {
        let total = Double(trace.header.functionBytes.reduce(0, +))
        var rates: [PolicyName: [Double]] = [:]
        for policy in Self.policies {
            let row = try Self.shares.map {
                100 * (try Replay.run(trace, policy: policy, shardBudget: Int(total * $0)).hitRate)
            }
            rates[policy] = row
            let text = row.map { String(format: "%6.1f", $0) }.joined()
            print(name.padding(toLength: 14, withPad: " ", startingAt: 0), policy.rawValue, text, separator: "\t")
        }
        let belady = try #require(rates[.belady])
        for (policy, row) in rates {
            for (mine, best) in zip(row, belady) { #expect(mine <= best, "\(policy.rawValue)") }
        }
        return rates
    }

    /// Points above LRU, for each share.
    private func gain(_ trace: AccessTrace, _ name: String) throws -> [Double] {
        let rates = try rates(trace, name)
        return zip(try #require(rates[.locum]), try #require(rates[.lru])).map { $0 - $1 }
    }

    @Test("On tales-moe, whose routing is nearly flat, Locum is above LRU at every budget")
    func tales() throws {
        let gain = try gain(Recorded.tales(), "tales-moe")
        if Self.isLong { #expect(gain[0] > 4 && gain[1] > 4 && gain[2] > 1.5) } else { #expect(gain[0] > 4) }
    }

    @Test("No story of tales-moe falls below LRU", arguments: 0..<10)
    func stories(_ sequence: UInt32) throws {
        let all = try Recorded.tales()
        let story = try AccessTrace(header: all.header, rows: all.rows.filter { $0.sequence == sequence })
        for points in try gain(story, "story \(sequence)") { #expect(points > 0) }
    }

    @Test("With medium skew Locum is 3 points above LRU at half residency", arguments: [6, 24])
    func medium(_ layers: Int) throws {
        let tokens = Self.isLong ? 2000 : layers == 6 ? 1000 : 400
        let trace = try syntheticTrace(.medium, layers: layers, tokens: tokens, seed: 11)
        let gain = try gain(trace, "medium \(layers) x 60")
        #expect(gain[gain.count / 2] >= 3)
        for points in gain { #expect(points > 0) }
    }

    // With flat routing no policy is better than another: half a point is chance.
    @Test("With flat and strong routing Locum is not below LRU", arguments: [Skew.flat, .strong], [6, 24])
    func others(_ skew: Skew, _ layers: Int) throws {
        let tokens = Self.isLong ? 2000 : layers == 6 ? 600 : 150
        let trace = try syntheticTrace(skew, layers: layers, tokens: tokens, seed: 12)
        for points in try gain(trace, "\(skew.name) \(layers) x 60") {
            #expect(points > (skew.name == "flat" ? -0.5 : 0))
        }
    }

    @Test("An idle model's items give way to those of a model in use")
    func idleModel() {
        var machine = Residency(policy: LocumPolicy(), budget: 20)
        for id in UInt64(0)..<40 { machine.add(id, bytes: 1, model: Int(id / 20), layer: Int(id / 10 % 2)) }
        var random = SplitMix64(5)
        func tokens(_ count: Int, model: UInt64) {
            for _ in 0..<count {
                for layer in UInt64(0)..<2 {
                    let id = model * 20 + layer * 10 + UInt64(random.below(10))
                    machine.accessed(id)
                    machine.want(id)
                    while machine.waiting > 0 {
                        for action in machine.next(isBusy: { _ in false }) {
                            if case .load(let id) = action { machine.loaded(id) }
                            if case .evict(let id) = action { machine.evicted(id) }
                        }
                    }
                    machine.served(id)
                }
            }
        }
        tokens(400, model: 0)
        #expect((0..<20).count { machine.isResident(UInt64($0)) } == 20)
        tokens(100, model: 1)
        #expect((20..<40).count { machine.isResident(UInt64($0)) } >= 18)
    }

    @Test("Of two items called alike, the one that costs less per byte goes")
    func sizes() {
        var policy = LocumPolicy()
        policy.added(0, PolicyItem(id: 0, bytes: 1_000_000, model: 0, layer: 0))
        policy.added(1, PolicyItem(id: 1, bytes: 50_000, model: 0, layer: 0))
        policy.added(2, PolicyItem(id: 2, bytes: 50_000, model: 0, layer: 1))
        for _ in 0..<10 { for slot in 0..<3 { policy.accessed(slot, times: 1) } }
        policy.prepare()
        #expect(policy.lowest(of: [0, 1], count: 2).map(\.slot) == [0, 1])
    }

    @Test("A hint raises a value until the layer's next visit shows whether it was right")
    func hintExpires() {
        var policy = LocumPolicy()
        for slot in 0..<16 { policy.added(slot, PolicyItem(id: 0, bytes: 1000, model: 0, layer: slot / 8)) }
        for _ in 0..<20 {
            policy.accessed(0, times: 1)
            policy.accessed(8, times: 1)
        }
        policy.prepare()
        let before = policy.value(1)
        policy.hinted(1, confidence: 0.6)
        policy.prepare()
        #expect(policy.value(1) > 4 * before)
        policy.accessed(0, times: 1)
        policy.prepare()
        #expect(policy.value(1) < 2 * before)
    }

    @Test("The few lowest are the same by either way of choosing, and ties go by slot")
    func lowest() {
        var policy = LFUPolicy()
        var random = SplitMix64(9)
        for slot in 0..<500 {
            policy.added(slot, PolicyItem(id: 0, bytes: 1, model: 0, layer: 0))
            for _ in 0..<random.below(20) { policy.accessed(slot, times: 1) }
        }
        let slots = (0..<Int32(500)).shuffled(using: &random)
        let all = policy.lowest(of: slots, count: 500)
        #expect(all.map(\.slot) == slots.sorted { (policy.value(Int($0)), $0) < (policy.value(Int($1)), $1) })
        for count in [0, 1, 7, 64] { #expect(policy.lowest(of: slots, count: count) == Array(all.prefix(count))) }
    }
}

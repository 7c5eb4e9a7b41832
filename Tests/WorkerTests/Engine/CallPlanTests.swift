// How a layer's pairs are cut into calls.
import Testing

@testable import Worker

@Suite("The plan of a layer's calls")
struct CallPlanTests {
    @Test("Every pending pair is in exactly one group of its expert, and a lane's groups stand by function")
    func coversAll() {
        var state: UInt64 = 11
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let plan = CallPlan(slots: 2048, experts: 60, lanes: 4)
        for round in 0..<400 {
            let (slots, lanes, size) = (1 + random(2048), 1 + random(4), 1 + random(20))
            // Some rounds with few favourites, some with answered pairs.
            let experts = (0..<slots).map { _ in round % 3 == 0 ? random(3) : random(60) }
            let pending = (0..<slots).map { _ in round % 4 != 0 || random(3) == 0 }
            plan.make(
                slots: slots, lanes: lanes, expert: { experts[$0] }, isPending: { pending[$0] },
                function: { $0 / size })
            var seen = Array(repeating: 0, count: slots)
            var last = (-1, -1)
            for group in plan.groups {
                #expect(group.count > 0 && (0..<lanes).contains(group.lane) && group.function == group.expert / size)
                #expect((group.lane, group.function) >= last)
                last = (group.lane, group.function)
                for index in group.start..<group.start + group.count {
                    let slot = Int(plan.order[index])
                    seen[slot] += 1
                    #expect(experts[slot] == group.expert)
                }
            }
            #expect(seen == pending.map { $0 ? 1 : 0 })
        }
    }

    @Test("Lanes get about the same work, also when one expert has nearly all of it")
    func balance() {
        let plan = CallPlan(slots: 1024, experts: 60, lanes: 2)
        for favourite in [0, 500, 1000] {
            plan.make(
                slots: 1024, lanes: 2, expert: { $0 < favourite ? 0 : $0 % 60 }, isPending: { _ in true },
                function: { $0 })
            let first = plan.groups.filter { $0.lane == 0 }.reduce(0) { $0 + $1.count }
            #expect(abs(first - 512) < 128)
        }
    }
}

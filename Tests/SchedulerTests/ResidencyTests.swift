// The rules of residency, one by one. The policy is LRU, so that who goes is plain.
import Scheduler
import Testing

@Suite struct ResidencyTests {
    private typealias Machine = Residency<LRUPolicy>

    /// Items 1... of these sizes; those up to `resident` were loaded and called in order.
    private func machine(
        budget: Int, _ sizes: [Int], resident: Int = 0, loadsAtOnce: Int = 2, hintBudget: Int = 0
    ) -> Machine {
        var machine = Machine(policy: LRUPolicy(), budget: budget, loadsAtOnce: loadsAtOnce, hintBudget: hintBudget)
        for (index, bytes) in sizes.enumerated() { machine.add(UInt64(index + 1), bytes: bytes, layer: 0) }
        for id in 1..<UInt64(resident + 1) { bring(id, to: &machine) }
        return machine
    }

    private func bring(_ id: UInt64, to machine: inout Machine) {
        machine.want(id)
        #expect(machine.next { _ in false } == [.load(id)])
        machine.loaded(id)
        machine.accessed(id)
        machine.served(id)
    }

    @Test("Room is reserved before a read and is free only when the pages are gone")
    func reservation() {
        var machine = machine(budget: 10, [6, 6])
        machine.want(1)
        machine.want(2)
        #expect(machine.next { _ in false } == [.load(1)])
        #expect(machine.used == 6)
        machine.loaded(1)
        machine.served(1)
        #expect(machine.next { _ in false } == [.evict(1)])
        #expect(machine.used == 6)
        #expect(machine.next { _ in false } == [])
        machine.evicted(1)
        #expect(machine.next { _ in false } == [.load(2)])
        #expect(machine.used == 6)
    }

    @Test("The least valuable goes, and only as many as are needed")
    func victims() {
        var machine = machine(budget: 12, [3, 3, 3, 3, 4], resident: 4)
        machine.accessed(1)
        machine.want(5)
        #expect(machine.next { _ in false } == [.evict(2), .evict(3)])
    }

    @Test("Room for the next want is made ahead, and taken by it at once")
    func headroom() {
        var machine = machine(budget: 12, [3, 3, 3, 3, 3], resident: 4)
        #expect(!machine.hasToDecide)
        machine.headroom = 3
        #expect(machine.hasToDecide)
        #expect(machine.next { _ in false } == [.evict(1)])
        machine.evicted(1)
        #expect(machine.next { _ in false } == [] && machine.used == 9)
        machine.want(5)
        #expect(machine.startWanted() == [.load(5)])
        #expect(machine.hasToDecide, "room for the one after it")
    }

    @Test("Busy, pinned, wanted and loading items stay")
    func protection() {
        var machine = Machine(policy: LRUPolicy(), budget: 12, loadsAtOnce: 4)
        machine.add(1, bytes: 3, layer: 0, pinned: true)
        for id in UInt64(2)...5 { machine.add(id, bytes: 3, layer: 0) }
        for id in UInt64(1)...3 { bring(id, to: &machine) }
        machine.want(4)
        #expect(machine.next { _ in false } == [.load(4)])
        machine.want(2)
        machine.want(5)
        #expect(machine.next { $0 == 3 } == [])
        #expect(machine.next { _ in false } == [.evict(3)])
    }

    @Test("Only the items about to be chosen are asked whether they are busy")
    func fewQuestions() {
        var machine = machine(budget: 200, [Int](repeating: 1, count: 201), resident: 200)
        machine.want(201)
        var asked: [UInt64] = []
        let actions = machine.next {
            asked.append($0)
            return $0 < 4
        }
        #expect(actions == [.evict(4)])
        #expect(asked == [1, 2, 3, 4])
    }

    @Test("A small want does not overtake a large one")
    func order() {
        var machine = machine(budget: 10, [6, 4, 8, 1], resident: 2)
        machine.want(3)
        machine.want(4)
        #expect(machine.next { $0 == 1 } == [.evict(2)])
        machine.evicted(2)
        #expect(machine.next { $0 == 1 } == [])
        #expect(machine.next { _ in false } == [.evict(1)])
        machine.evicted(1)
        #expect(machine.next { _ in false } == [.load(3), .load(4)])
    }

    @Test("What can never fit is reported, and what waits behind it goes on")
    func tooLarge() {
        var machine = Machine(policy: LRUPolicy(), budget: 10)
        machine.add(1, bytes: 4, layer: 0, pinned: true)
        machine.add(2, bytes: 7, layer: 0)
        machine.add(3, bytes: 6, layer: 0)
        machine.want(1)
        machine.want(2)
        machine.want(3)
        #expect(machine.next { _ in true } == [.load(1), .cannot(2), .load(3)])
        machine.budget = 11
        machine.want(2)
        #expect(machine.next { _ in true } == [])
        #expect(machine.waiting == 1)
    }

    @Test("A shrink stops reads and evicts until the budget holds again")
    func shrink() {
        var machine = machine(budget: 12, [3, 3, 3, 3, 3], resident: 4)
        machine.budget = 7
        machine.want(5)
        #expect(machine.next { $0 == 2 } == [.evict(1), .evict(3), .evict(4)])
        machine.evicted(1)
        machine.evicted(3)
        #expect(machine.next { $0 == 2 } == [])
        machine.evicted(4)
        #expect(machine.next { $0 == 2 } == [.load(5)])
    }

    @Test("Who refuses to go stays, and is asked again after the others")
    func refusal() {
        var machine = machine(budget: 4, [2, 2, 2], resident: 2)
        machine.want(3)
        #expect(machine.next { _ in false } == [.evict(1)])
        machine.kept(1)
        #expect(machine.next { _ in false } == [.evict(2)])
        machine.kept(2)
        #expect(machine.isResident(1) && machine.isResident(2))
        #expect(machine.next { _ in false } == [.evict(1)])
    }

    @Test("A want that comes during an eviction keeps its turn")
    func wantWhileLeaving() {
        var machine = machine(budget: 4, [2, 2, 2, 2], resident: 2)
        machine.want(3)
        #expect(machine.next { _ in false } == [.evict(1)])
        machine.want(1)
        machine.want(4)
        machine.evicted(1)
        #expect(machine.next { _ in false } == [.load(3), .evict(2)])
        machine.evicted(2)
        #expect(machine.next { _ in false } == [.load(1)])
    }

    @Test("A failed read frees its room")
    func failure() {
        var machine = machine(budget: 4, [4, 4])
        machine.want(1)
        machine.want(2)
        #expect(machine.next { _ in false } == [.load(1)])
        machine.failed(1)
        #expect(machine.next { _ in false } == [.load(2)])
    }

    @Test("An item that is removed takes nothing along, whatever its state")
    func removal() {
        var machine = machine(budget: 6, [2, 2, 2, 2, 2], resident: 2)
        machine.want(3)
        machine.want(4)
        machine.want(5)
        #expect(machine.next { _ in false } == [.load(3), .evict(1)])
        for id in UInt64(1)...5 { #expect(machine.remove(id) == true) }
        #expect(machine.used == 0 && machine.waiting == 0 && machine.loading == 0 && machine.leaving == 0)
        #expect(machine.next { _ in false } == [])
    }

    @Test("Events that do not fit change nothing")
    func misfits() {
        var machine = machine(budget: 4, [2, 2], resident: 1)
        let accepted = [
            machine.loaded(1), machine.failed(1), machine.evicted(1), machine.kept(1), machine.served(1),
            machine.loaded(9), machine.want(9), machine.remove(9), machine.add(1, bytes: 5, layer: 0),
        ]
        #expect(!accepted.contains(true))
        #expect(machine.used == 2 && machine.isResident(1))
    }

    @Test("A hint is read when no want waits, and takes the place of lesser items only")
    func hints() {
        var machine = machine(budget: 4, [2, 2, 2, 2], resident: 2, hintBudget: 2)
        machine.hint(3)
        machine.want(4)
        #expect(machine.next { _ in false } == [.evict(1)])
        machine.evicted(1)
        #expect(machine.next { _ in false } == [.load(4)])
        machine.loaded(4)
        machine.accessed(4)
        machine.served(4)
        #expect(machine.next { _ in false } == [.evict(2)])
        machine.evicted(2)
        #expect(machine.next { _ in false } == [.load(3)])
        machine.loaded(3)
        #expect(machine.hinted == 2)
        machine.accessed(3)
        #expect(machine.hinted == 0)
        #expect(machine.takeHintOutcomes() == [HintOutcome(id: 3, bytes: 2, kind: .used)])
        #expect(machine.takeHintOutcomes() == [])
    }

    @Test("Hints stay within their budget until they are called or overtaken, and leave a read to wants")
    func hintBudget() {
        var machine = machine(budget: 100, [2, 2, 2, 2], loadsAtOnce: 2, hintBudget: 4)
        for id in UInt64(1)...3 { machine.hint(id) }
        #expect(machine.next { _ in false } == [.load(1)])
        machine.want(4)
        #expect(machine.next { _ in false } == [.load(4)])
        machine.loaded(4)
        machine.loaded(1)
        #expect(machine.next { _ in false } == [.load(2)])
        machine.want(2)
        machine.loaded(2)
        #expect(machine.next { _ in false } == [.load(3)])
        machine.loaded(3)
        machine.settleHints(layer: 0)
        #expect(machine.hinted == 0)
        let kinds = machine.takeHintOutcomes().map { [$0.id: $0.kind] }
        #expect(kinds == [[2: .late], [1: .wasted], [3: .wasted]])
    }

    @Test("A hint that is not worth anybody's place is dropped")
    func worthlessHint() {
        var machine = Residency(policy: LFUPolicy(), budget: 2, hintBudget: 2)
        machine.add(1, bytes: 2, layer: 0)
        machine.add(2, bytes: 2, layer: 0)
        machine.want(1)
        #expect(machine.next { _ in false } == [.load(1)])
        machine.loaded(1)
        machine.accessed(1)
        machine.served(1)
        machine.hint(2)
        #expect(machine.next { _ in false } == [])
        #expect(machine.takeHintOutcomes().map(\.kind) == [.dropped])
    }
}

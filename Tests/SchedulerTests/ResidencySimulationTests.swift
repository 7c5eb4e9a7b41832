// Residency in an environment that does its worst within the rules: reads end in any order or fail, evictions are
// refused, the budget moves, items come and go, hints are poured in. The environment keeps its own books, and holds
// the machine to them after every step.
import Scheduler
import SeededRandom
import Testing

/// What is true outside, and the machine.
private struct Environment<Policy: ResidencyPolicy> {
    struct Thing {
        var bytes: Int
        var isPinned: Bool
        var isWanted = false
        var isBusy = false
    }

    var machine: Residency<Policy>
    var random: SplitMix64
    var things: [UInt64: Thing] = [:]
    var ids: [UInt64] = []
    var busy: [UInt64] = []
    var loading: [UInt64] = []
    var resident: [UInt64] = []
    var evicting: [UInt64] = []
    var newest: UInt64 = 0
    var held = true
    var actions = 0
    var served = 0
    var refusedForEver = 0

    init(policy: Policy, seed: UInt64) {
        machine = Residency(policy: policy, budget: 1000, loadsAtOnce: 3, hintBudget: 150)
        machine.headroom = 40
        random = SplitMix64(seed)
    }

    var used: Int { (loading + resident + evicting).reduce(0) { $0 + (things[$1]?.bytes ?? 0) } }

    /// Kept instead of expected on the spot: a hundred thousand expectations take minutes in a debug build.
    private(set) var violations: Set<String> = []

    private mutating func expect(_ holds: Bool, _ line: Int = #line) {
        if !holds { violations.insert("line \(line)") }
    }

    private mutating func check() {
        expect(machine.used == used)
        expect(!held || machine.used <= machine.budget)
        expect(machine.loading == loading.count && loading.count <= machine.loadsAtOnce)
        expect(machine.hinted <= machine.hintBudget)
    }

    mutating func perform() {
        let wasAbove = machine.used > machine.budget
        let list = machine.next { things[$0]?.isBusy ?? false }
        actions += list.count
        for action in list {
            switch action {
            case .load(let id):
                expect(!wasAbove && !loading.contains(id) && !resident.contains(id) && !evicting.contains(id))
                loading.append(id)
            case .evict(let id):
                expect(resident.contains(id))
                let thing = things[id]
                expect(thing?.isBusy == false && thing?.isPinned == false && thing?.isWanted == false)
                resident.removeAll { $0 == id }
                evicting.append(id)
            case .cannot(let id):
                let pinned = (loading + resident + evicting).filter { things[$0]?.isPinned ?? false }
                let rest = machine.budget - pinned.reduce(0) { $0 + (things[$1]?.bytes ?? 0) }
                expect(things[id].map { $0.isWanted && $0.bytes > rest } ?? false)
                things[id]?.isWanted = false
                refusedForEver += 1
            }
        }
        // All that can be ordered was ordered.
        expect(machine.next { things[$0]?.isBusy ?? false } == [])
        if machine.used <= machine.budget { held = true }
        check()
    }

    mutating func pick(_ list: [UInt64]) -> UInt64? { list.isEmpty ? nil : list[random.below(list.count)] }

    mutating func add() {
        newest += 1
        let pinned = random.chance(0.02)
        let bytes = pinned ? 20 : 1 + random.below(random.chance(0.1) ? 400 : 40)
        things[newest] = Thing(bytes: bytes, isPinned: pinned)
        ids.append(newest)
        expect(machine.add(newest, bytes: bytes, layer: random.below(6), pinned: pinned) == true)
    }

    mutating func remove(_ id: UInt64) {
        things[id] = nil
        ids.removeAll { $0 == id }
        busy.removeAll { $0 == id }
        expect(machine.remove(id) == true)
        loading.removeAll { $0 == id }
        resident.removeAll { $0 == id }
        evicting.removeAll { $0 == id }
    }

    mutating func finishLoad(_ id: UInt64, fails: Bool) {
        loading.removeAll { $0 == id }
        if fails {
            expect(machine.failed(id) == true)
            things[id]?.isWanted = false
        } else {
            expect(machine.loaded(id) == true)
            resident.append(id)
        }
    }

    mutating func finishEviction(_ id: UInt64, refused: Bool) {
        evicting.removeAll { $0 == id }
        if refused {
            expect(machine.kept(id) == true)
            resident.append(id)
        } else {
            expect(machine.evicted(id) == true)
        }
    }

    /// A call that waited for a resident item begins.
    mutating func serve(_ id: UInt64) {
        guard things[id]?.isWanted == true, resident.contains(id) else { return }
        machine.accessed(id)
        expect(machine.served(id) == true)
        things[id]?.isWanted = false
        things[id]?.isBusy = true
        busy.append(id)
        served += 1
    }

    mutating func endCall(_ id: UInt64) {
        things[id]?.isBusy = false
        busy.removeAll { $0 == id }
    }

    mutating func step() {
        switch random.below(100) {
        case 0..<3: if ids.count < 120 { add() }
        case 3..<5: if let id = pick(ids) { remove(id) }
        case 5..<25:
            if let id = pick(ids) {
                machine.want(id)
                things[id]?.isWanted = true
            }
        case 25..<30: if let id = pick(ids) { machine.hint(id, confidence: random.unit()) }
        case 30..<32: machine.settleHints(layer: random.below(6))
        case 32..<50: if let id = pick(loading) { finishLoad(id, fails: random.chance(0.1)) }
        case 50..<65: if let id = pick(evicting) { finishEviction(id, refused: random.chance(0.3)) }
        case 65..<80: if let id = pick(resident) { serve(id) }
        case 80..<95: if let id = pick(busy) { endCall(id) }
        case 95..<97:
            if let id = pick(ids.filter { things[$0]?.isWanted == true }) {
                expect(machine.served(id) == true)
                things[id]?.isWanted = false
            }
        default:
            machine.budget = 200 + random.below(1200)
            held = machine.used <= machine.budget
        }
        perform()
    }
}

@Suite struct ResidencySimulationTests {
    private func run(_ policy: some ResidencyPolicy, seed: UInt64, steps: Int) {
        var environment = Environment(policy: policy, seed: seed)
        for _ in 0..<60 { environment.add() }
        for _ in 0..<steps { environment.step() }
        #expect(environment.violations == [])
        #expect(environment.actions > steps / 10 && environment.served > steps / 50)
        #expect(environment.refusedForEver > 0)
    }

    @Test("The invariants hold for 100,000 random steps under Locum's policy")
    func locum() { run(LocumPolicy(), seed: 1, steps: 100_000) }

    @Test("The invariants hold under the other policies")
    func others() {
        run(LRUPolicy(), seed: 2, steps: 20_000)
        run(LFUPolicy(), seed: 3, steps: 20_000)
        run(GDSFPolicy(), seed: 4, steps: 20_000)
    }

    @Test("Every want is served when calls end and reads finish", arguments: 1...20)
    func progress(_ seed: UInt64) {
        var environment = Environment(policy: LocumPolicy(), seed: seed)
        for _ in 0..<60 { environment.add() }
        for _ in 0..<500 { environment.step() }
        environment.machine.budget = 600
        environment.held = environment.machine.used <= 600
        for id in environment.ids where !environment.loading.contains(id) {
            environment.machine.want(id)
            environment.things[id]?.isWanted = true
        }
        var rounds = 0
        while environment.things.values.contains(where: \.isWanted), rounds < 500 {
            rounds += 1
            for id in environment.busy { environment.endCall(id) }
            environment.perform()
            for id in environment.loading.shuffled(using: &environment.random) {
                environment.finishLoad(id, fails: false)
            }
            for id in environment.evicting.shuffled(using: &environment.random) {
                environment.finishEviction(id, refused: environment.random.chance(0.2))
            }
            for id in environment.resident { environment.serve(id) }
        }
        let waiting = environment.things.filter(\.value.isWanted).keys.sorted()
        #expect(waiting == [], "after \(rounds) rounds")
        #expect(environment.machine.used <= 600 && environment.violations == [])
    }
}

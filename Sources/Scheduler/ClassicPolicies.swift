// The policies that others use, as yardsticks for ours. LRU and LFU ignore sizes, as their names promise. GDSF is
// Cherkasova's greedy-dual with frequency (HP Labs 1998), which FaasCache (Fuerst & Sharma, ASPLOS 2021) brought to
// functions: value = L + frequency * cost / size, with L the value of the last victim, so that what is not called
// any more is overtaken by newcomers.

/// What reading `bytes` again costs, in bytes: a read takes a fixed latency besides its length, and a disk of
/// 1.2 GB/s moves 120 kB in the 100 us that a read takes to begin.
func readCost(_ bytes: Int) -> Double { Double(max(bytes, 1)) + 120_000 }

/// Least recently used.
public struct LRUPolicy: ResidencyPolicy {
    private var last = SlotArray(0.0)
    private var clock = 0.0

    public init() {}

    public mutating func added(_ slot: Int, _ item: PolicyItem) { last.set(slot, 0) }
    public mutating func accessed(_ slot: Int, times: Int) {
        clock += 1
        last[slot] = clock
    }
    public mutating func hinted(_ slot: Int, confidence: Double) { last[slot] = clock + 0.5 }
    public func value(_ slot: Int) -> Double { last[slot] }
}

/// Least frequently used, counted for as long as the item is known.
public struct LFUPolicy: ResidencyPolicy {
    private var counts = SlotArray(0.0)

    public init() {}

    public mutating func added(_ slot: Int, _ item: PolicyItem) { counts.set(slot, 0) }
    public mutating func accessed(_ slot: Int, times: Int) { counts[slot] += 1 }
    public func value(_ slot: Int) -> Double { counts[slot] }
}

/// Greedy-dual size frequency.
public struct GDSFPolicy: ResidencyPolicy {
    private struct Entry {
        /// Calls since it came into memory.
        var calls = 0.0
        var value = 0.0
        /// Cost of reading it again, per byte.
        var cost = 1.0
    }

    private var entries = SlotArray(Entry())
    /// L: what a newcomer starts from. It never falls.
    private var inflation = 0.0

    public init() {}

    public mutating func added(_ slot: Int, _ item: PolicyItem) {
        entries.set(slot, Entry(cost: readCost(item.bytes) / Double(max(item.bytes, 1))))
    }

    public mutating func accessed(_ slot: Int, times: Int) {
        entries[slot].calls += 1
        entries[slot].value = inflation + entries[slot].calls * entries[slot].cost
    }

    public mutating func evicted(_ slot: Int) {
        inflation = max(inflation, entries[slot].value)
        entries[slot].calls = 0
    }

    public func value(_ slot: Int) -> Double { entries[slot].value }
}

/// Belady's MIN: who is called last in the future leaves first. Optimal for items of one size; for a replay only.
public struct BeladyPolicy: ResidencyPolicy {
    /// Per slot the moments of its calls, and which of them is next.
    private let future: [[Int32]]
    private var position: [Int]

    /// - Parameter future: per slot, in the order of adding, the rising moments of its calls; one per `accessed`.
    public init(future: [[Int32]]) {
        self.future = future
        position = [Int](repeating: 0, count: future.count)
    }

    public mutating func added(_ slot: Int, _ item: PolicyItem) {}
    public mutating func accessed(_ slot: Int, times: Int) { position[slot] += 1 }

    public func value(_ slot: Int) -> Double {
        let place = position[slot]
        return place < future[slot].count ? -Double(future[slot][place]) : -.infinity
    }
}

// What a policy has to say about who leaves memory first. The machine (Residency) keeps the items and obeys the
// budget; a policy only remembers accesses and answers a keep value per item, lower goes first. Items are named by
// slots: small dense indices, so that a policy's state is arrays. A policy's clock is the accesses it was told of, so
// that the daemon and a replay of its trace decide alike.
//
// Choosing victims is one linear scan over the candidates. It is a requirement with a default, so that the loop is
// specialised for each policy in this module: the caller's side then pays one indirect call per scan, not per item.

/// An item as a policy sees it.
public struct PolicyItem: Sendable, Equatable {
    public var id: UInt64
    /// Bytes that it takes in memory, and that reading it again costs.
    public var bytes: Int
    /// Models are computed layer by layer, in cycles; layers of two models have nothing to do with each other.
    public var model: Int
    public var layer: Int

    public init(id: UInt64, bytes: Int, model: Int, layer: Int) {
        (self.id, self.bytes, self.model, self.layer) = (id, bytes, model, layer)
    }
}

/// A possible victim.
public struct Candidate: Sendable, Equatable {
    public var slot: Int32
    public var value: Double

    /// By value, then by slot, so that equal values do not make a run depend on the order of a list.
    func goesBefore(_ other: Candidate) -> Bool {
        value < other.value || (value == other.value && slot < other.slot)
    }
}

/// Who is worth keeping.
public protocol ResidencyPolicy: Sendable {
    /// A new item; its slot may have been another's before.
    mutating func added(_ slot: Int, _ item: PolicyItem)
    /// The item is gone for good.
    mutating func removed(_ slot: Int)
    /// The item was called; in order of the calls. `times`: rows of the batch that called it.
    mutating func accessed(_ slot: Int, times: Int)
    /// The item left memory.
    mutating func evicted(_ slot: Int)
    /// It will be called soon, with this probability (0...1). The value may rise until the call or until it is clear
    /// that none comes.
    mutating func hinted(_ slot: Int, confidence: Double)
    /// Called before values are asked for.
    mutating func prepare()
    /// What keeping the item is worth per byte; in units of the policy's own.
    func value(_ slot: Int) -> Double
    /// The `count` lowest of `slots`, lowest first.
    func lowest(of slots: [Int32], count: Int) -> [Candidate]
}

extension ResidencyPolicy {
    public mutating func removed(_ slot: Int) {}
    public mutating func evicted(_ slot: Int) {}
    public mutating func hinted(_ slot: Int, confidence: Double) {}
    public mutating func prepare() {}

    public func lowest(of slots: [Int32], count: Int) -> [Candidate] {
        guard count > 0 else { return [] }
        guard count <= 64 else {
            let all = slots.map { Candidate(slot: $0, value: value(Int($0))) }.sorted { $0.goesBefore($1) }
            return Array(all.prefix(count))
        }
        // Insertion into a short sorted list: nearly all items are refused by one comparison.
        var kept: [Candidate] = []
        kept.reserveCapacity(count + 1)
        var bound = Double.infinity
        for slot in slots {
            let value = value(Int(slot))
            if value > bound { continue }
            let candidate = Candidate(slot: slot, value: value)
            var place = kept.count
            while place > 0, candidate.goesBefore(kept[place - 1]) { place -= 1 }
            kept.insert(candidate, at: place)
            if kept.count > count { kept.removeLast() }
            if kept.count == count { bound = kept[count - 1].value }
        }
        return kept
    }
}

/// The policies by the names that commands use.
public enum PolicyName: String, CaseIterable, Sendable {
    case lru, lfu, gdsf, belady, locum
}

/// A list that grows to the slots it is asked for.
struct SlotArray<Element: Sendable>: Sendable {
    private(set) var elements: [Element] = []
    let empty: Element

    init(_ empty: Element) { self.empty = empty }

    mutating func set(_ slot: Int, _ element: Element) {
        while elements.count <= slot { elements.append(empty) }
        elements[slot] = element
    }

    subscript(_ slot: Int) -> Element {
        _read { yield elements[slot] }
        _modify { yield &elements[slot] }
    }
}

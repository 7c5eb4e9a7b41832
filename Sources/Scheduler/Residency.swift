// Who is in memory: the state machine between the calls that wait, the disk, and the policy. No I/O and no clock; the
// node daemon executes the actions and reports back, a replay does so at once.
//
//   absent ──want──► queued ──room──► loading ──loaded──► resident ──next──► evicting ──evicted──► absent
//                                        └──failed──► absent    ◄──kept──┘
//
// - Room is reserved before a read is ordered and is free again only when the pages are gone, so `used` never
//   exceeds the budget by a decision of ours; after a shrink nothing is loaded until it holds again.
// - Wanted items are served in the order of their first want. The first one gets room before any other, whatever
//   its size, so a large one cannot starve; who is wanted, loading, pinned or busy is never evicted.
// - Room for the next wants is made ahead (`headroom`): then they wait for the disk alone.
// - Hints are served when no want waits, with one read at a time left to wants, and only in place of items worth less.
//
// An event that does not fit (two daemons may cross on the wire) changes nothing and answers false.

/// The items of one node and their places in memory.
public struct Residency<Policy: ResidencyPolicy>: Sendable {
    /// What has to be done now.
    public enum Action: Sendable, Equatable {
        /// Read it; answer with `loaded` or `failed`.
        case load(UInt64)
        /// End it and give its pages back; answer with `evicted` or `kept`.
        case evict(UInt64)
        /// It is wanted and can never fit beside what is pinned; it is not wanted any more.
        case cannot(UInt64)
    }

    enum State: Sendable, Equatable {
        case absent, queued, loading, resident, evicting
    }

    struct Item: Sendable {
        let id: UInt64
        let bytes: Int
        let model: Int
        let layer: Int
        let isPinned: Bool
        var state = State.absent
        /// A call waits for it. Set from `want` to `served`.
        var isWanted = false
        /// Order of the first want.
        var ticket: UInt64 = 0
        /// Loaded or being loaded because of a hint, and not called yet. Its bytes count in `hintedBytes`.
        var isHinted = false
        /// It could not be evicted when it was asked to; the others are asked first.
        var refused = false
        /// Where it stands in `candidates`; -1: not there.
        var candidate: Int32 = -1
    }

    /// Bytes for all items. It may shrink or grow at any time.
    public var budget: Int
    /// Reads under way at most.
    public var loadsAtOnce: Int
    /// Bytes that hinted items may take until they are called.
    public var hintBudget: Int
    /// Bytes that are kept free for the next wants, so that they need not wait for others to leave.
    public var headroom = 0
    public internal(set) var policy: Policy
    /// Bytes of loading, resident and evicting items.
    public internal(set) var used = 0
    /// Bytes of pinned items among them.
    public internal(set) var pinned = 0
    /// Bytes of evicting items among them.
    public internal(set) var leaving = 0
    /// Bytes of hinted items that were not called yet.
    public internal(set) var hinted = 0
    /// Reads under way.
    public internal(set) var loading = 0

    var items: [Item] = []
    var slots: [UInt64: Int] = [:]
    var unusedSlots: [Int] = []
    /// Slots of the resident items that are neither pinned nor wanted.
    var candidates: [Int32] = []
    /// Slots of queued items by ticket.
    var queue: [Int] = []
    /// Slots of absent items that were hinted, first come first served.
    var hints: [Int] = []
    var outcomes: [HintOutcome] = []
    var tickets: UInt64 = 0

    /// Hints beyond this many push out the oldest.
    static var hintsAtOnce: Int { 256 }

    /// - Parameters:
    ///   - budget: bytes for all items.
    ///   - loadsAtOnce: reads under way at most; at least 1.
    ///   - hintBudget: bytes for hinted items that were not called yet; part of `budget`.
    public init(policy: Policy, budget: Int, loadsAtOnce: Int = 2, hintBudget: Int = 0) {
        self.policy = policy
        self.budget = budget
        self.loadsAtOnce = max(1, loadsAtOnce)
        self.hintBudget = hintBudget
    }

    /// Nobody is queued, loading or evicting.
    public var isSettled: Bool { queue.isEmpty && loading == 0 && leaving == 0 }
    /// Wants that wait for room.
    public var waiting: Int { queue.count }

    /// A call waits for it, or it is kept for one that was announced.
    public func isWanted(_ id: UInt64) -> Bool { slots[id].map { items[$0].isWanted } ?? false }

    public func isResident(_ id: UInt64) -> Bool { slots[id].map { items[$0].state == .resident } ?? false }

    /// A new item, absent.
    ///
    /// - Parameters:
    ///   - model: layers of one model are computed in cycles; the policy learns their rhythm.
    ///   - pinned: never evicted once resident (a router).
    @discardableResult
    public mutating func add(_ id: UInt64, bytes: Int, model: Int = 0, layer: Int, pinned: Bool = false) -> Bool {
        guard slots[id] == nil, bytes >= 0 else { return false }
        let item = Item(id: id, bytes: bytes, model: model, layer: layer, isPinned: pinned)
        let slot: Int
        if let unused = unusedSlots.popLast() {
            slot = unused
            items[slot] = item
        } else {
            slot = items.count
            items.append(item)
        }
        slots[id] = slot
        policy.added(slot, PolicyItem(id: id, bytes: bytes, model: model, layer: layer))
        return true
    }

    /// Its process ended and its pages are gone, or it is known no more: whatever it had is free.
    @discardableResult
    public mutating func remove(_ id: UInt64) -> Bool {
        guard let slot = slots.removeValue(forKey: id) else { return false }
        forget(slot)
        queue.removeAll { $0 == slot }
        items[slot].isWanted = false
        policy.removed(slot)
        unusedSlots.append(slot)
        return true
    }

    /// It was called. `times`: rows of the batch that call it.
    @discardableResult
    public mutating func accessed(_ id: UInt64, times: Int = 1) -> Bool {
        guard let slot = slots[id] else { return false }
        policy.accessed(slot, times: times)
        items[slot].refused = false
        if items[slot].isHinted {
            settleHint(slot, items[slot].state == .loading ? .late : .used)
        } else {
            dropHint(slot)
        }
        return true
    }

    /// A call waits for it, and it stays until `served`. Once is enough.
    @discardableResult
    public mutating func want(_ id: UInt64) -> Bool {
        guard let slot = slots[id] else { return false }
        guard !items[slot].isWanted else { return true }
        items[slot].isWanted = true
        tickets += 1
        items[slot].ticket = tickets
        switch items[slot].state {
        case .absent:
            dropHint(slot)
            enqueue(slot)
        case .resident: dropCandidate(slot)
        case .loading: if items[slot].isHinted { settleHint(slot, .late) }
        // Evicting: it is queued when its pages are gone, in its turn.
        case .queued, .evicting: break
        }
        return true
    }

    /// No call waits for it any more: what waited is under way (from here on `isBusy` speaks for it) or gave up.
    @discardableResult
    public mutating func served(_ id: UInt64) -> Bool {
        guard let slot = slots[id], items[slot].isWanted else { return false }
        items[slot].isWanted = false
        switch items[slot].state {
        case .queued:
            items[slot].state = .absent
            queue.removeAll { $0 == slot }
        case .resident: addCandidate(slot)
        case .absent, .loading, .evicting: break
        }
        return true
    }

    /// It is read.
    @discardableResult
    public mutating func loaded(_ id: UInt64) -> Bool {
        guard let slot = slots[id], items[slot].state == .loading else { return false }
        loading -= 1
        items[slot].state = .resident
        addCandidate(slot)
        return true
    }

    /// It could not be read: absent, and not wanted any more.
    @discardableResult
    public mutating func failed(_ id: UInt64) -> Bool {
        guard let slot = slots[id], items[slot].state == .loading else { return false }
        forget(slot)
        items[slot].isWanted = false
        return true
    }

    /// Its pages are gone.
    @discardableResult
    public mutating func evicted(_ id: UInt64) -> Bool {
        guard let slot = slots[id], items[slot].state == .evicting else { return false }
        forget(slot)
        policy.evicted(slot)
        if items[slot].isWanted { enqueue(slot) }
        return true
    }

    /// It could not be evicted after all, because it is in use.
    @discardableResult
    public mutating func kept(_ id: UInt64) -> Bool {
        guard let slot = slots[id], items[slot].state == .evicting else { return false }
        leaving -= items[slot].bytes
        items[slot].state = .resident
        items[slot].refused = true
        addCandidate(slot)
        return true
    }
}

// What can be ordered now. Wants first, in their order; then, when the budget is exceeded or the first wants lack room,
// victims; then hints. `isBusy` reads memory that routers share with the daemon, so it is asked about an item only
// when that item is the next to go.

extension Residency {
    /// All that can be ordered now; call it after every event.
    ///
    /// - Parameter isBusy: whether a call is under way at the item.
    public mutating func next(isBusy: (UInt64) -> Bool) -> [Action] {
        var actions = startWanted()
        let missing = missingForWants()
        if missing > 0 {
            for slot in victims(bytes: missing, isBusy: isBusy) {
                beginEviction(slot)
                actions.append(.evict(items[slot].id))
            }
        }
        if queue.isEmpty, used <= budget { serveHints(&actions, isBusy: isBusy) }
        return actions
    }

    /// The part of `next` for which it does not matter who was called lately.
    public mutating func startWanted() -> [Action] {
        var actions: [Action] = []
        while let first = queue.first {
            let bytes = items[first].bytes
            // Not even with everything else gone. Who is told so may ask again after the budget grew.
            if bytes > budget - pinned {
                queue.removeFirst()
                items[first].state = .absent
                items[first].isWanted = false
                actions.append(.cannot(items[first].id))
            } else if loading < loadsAtOnce, bytes <= budget - used {
                queue.removeFirst()
                beginLoad(first)
                actions.append(.load(items[first].id))
            } else {
                break
            }
        }
        return actions
    }

    /// Whether `next` has more to decide: who leaves, or what a hint is worth.
    public var hasToDecide: Bool { missingForWants() > 0 || (queue.isEmpty && used <= budget && !hints.isEmpty) }

    /// Bytes to be freed beyond those that are leaving, for the budget and the wants that can be read next, known or yet
    /// to come. Room is made while other reads still run, so that the disk need not wait for it.
    private func missingForWants() -> Int {
        var needed = 0
        for slot in queue.prefix(max(1, loadsAtOnce - loading)) where items[slot].bytes <= budget - pinned {
            needed += items[slot].bytes
        }
        return used - leaving + max(needed, keptFree) - budget
    }

    private var keptFree: Int { max(0, min(headroom, budget - pinned)) }

    /// Who goes, lowest first, until `bytes` are free. Fewer when the others are busy.
    private mutating func victims(bytes: Int, isBusy: (UInt64) -> Bool) -> [Int] {
        policy.prepare()
        var chosen: [Int] = []
        var freed = 0
        for wasRefused in [false, true] where freed < bytes {
            scanCandidates { slot, item, _ in
                if item.refused == wasRefused, !isBusy(item.id) {
                    chosen.append(slot)
                    freed += item.bytes
                }
                return freed < bytes
            }
        }
        return chosen
    }

    /// Visits candidates from the lowest on until told to stop. Most scans end within the first few, so the sorted
    /// head of the list is kept short at first.
    private func scanCandidates(_ visit: (Int, Item, Double) -> Bool) {
        var (seen, count) = (0, 8)
        while seen < candidates.count {
            for candidate in policy.lowest(of: candidates, count: count).dropFirst(seen) {
                let slot = Int(candidate.slot)
                if !visit(slot, items[slot], candidate.value) { return }
            }
            (seen, count) = (count, count * 8)
        }
    }

    private mutating func serveHints(_ actions: inout [Action], isBusy: (UInt64) -> Bool) {
        while let slot = hints.first, loading < max(1, loadsAtOnce - 1) {
            let bytes = items[slot].bytes
            // The room that is kept for wants is not theirs.
            let room = budget - keptFree - used
            if bytes > min(hintBudget, budget - pinned) {
                dropHint(slot)
            } else if hinted + bytes > hintBudget {
                return
            } else if bytes <= room {
                hints.removeFirst()
                items[slot].isHinted = true
                hinted += bytes
                beginLoad(slot)
                actions.append(.load(items[slot].id))
            } else if bytes <= room + leaving {
                return
            } else if let chosen = lesser(than: slot, bytes: bytes - (room + leaving), isBusy: isBusy) {
                for victim in chosen {
                    beginEviction(victim)
                    actions.append(.evict(items[victim].id))
                }
                return
            } else {
                dropHint(slot)
            }
        }
    }

    /// Victims that are each worth less than a hinted item; nil when they do not make room enough.
    private mutating func lesser(than hinted: Int, bytes: Int, isBusy: (UInt64) -> Bool) -> [Int]? {
        policy.prepare()
        let worth = policy.value(hinted)
        var chosen: [Int] = []
        var freed = 0
        scanCandidates { slot, item, value in
            guard value < worth else { return false }
            if !item.refused, !item.isHinted, !isBusy(item.id) {
                chosen.append(slot)
                freed += item.bytes
            }
            return freed < bytes
        }
        return freed >= bytes ? chosen : nil
    }
}

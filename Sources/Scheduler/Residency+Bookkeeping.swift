// The sums and lists beside the items. Each is changed here and nowhere else.

extension Residency {
    /// Whatever the item had in memory is free; it is absent.
    mutating func forget(_ slot: Int) {
        dropHint(slot)
        dropCandidate(slot)
        let bytes = items[slot].bytes
        switch items[slot].state {
        case .absent, .queued: break
        case .loading:
            loading -= 1
            used -= bytes
        case .resident: used -= bytes
        case .evicting:
            used -= bytes
            leaving -= bytes
        }
        if items[slot].state != .absent, items[slot].state != .queued, items[slot].isPinned { pinned -= bytes }
        if items[slot].isHinted { settleHint(slot, items[slot].state == .loading ? .dropped : .wasted) }
        items[slot].state = .absent
        items[slot].refused = false
    }

    mutating func enqueue(_ slot: Int) {
        items[slot].state = .queued
        let ticket = items[slot].ticket
        var place = queue.count
        while place > 0, items[queue[place - 1]].ticket > ticket { place -= 1 }
        queue.insert(slot, at: place)
    }

    mutating func addCandidate(_ slot: Int) {
        guard items[slot].candidate < 0, !items[slot].isPinned, !items[slot].isWanted else { return }
        items[slot].candidate = Int32(candidates.count)
        candidates.append(Int32(slot))
    }

    mutating func dropCandidate(_ slot: Int) {
        let place = Int(items[slot].candidate)
        guard place >= 0 else { return }
        let last = candidates.removeLast()
        if Int(last) != slot {
            candidates[place] = last
            items[Int(last)].candidate = Int32(place)
        }
        items[slot].candidate = -1
    }

    mutating func beginLoad(_ slot: Int) {
        items[slot].state = .loading
        loading += 1
        used += items[slot].bytes
        if items[slot].isPinned { pinned += items[slot].bytes }
    }

    mutating func beginEviction(_ slot: Int) {
        dropCandidate(slot)
        items[slot].state = .evicting
        leaving += items[slot].bytes
    }
}

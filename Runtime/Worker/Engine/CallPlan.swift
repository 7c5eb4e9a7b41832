// Which pairs of a layer go to which function on which lane. Pairs are grouped by expert, so that a lane reads
// an expert's weights once; a group larger than a quarter of a lane's due is cut; groups then go, largest
// first, to the lane with the least to do. None of this can change a result, only its time.

/// Cuts a layer's pending pairs into calls. Its memory is made once, for the largest work.
final class CallPlan {
    /// Pairs of one expert for one lane.
    struct Group {
        var expert: Int
        var function: Int
        /// Range in `order`.
        var start: Int
        var count: Int
        var lane: Int
    }

    /// Slots (row * perRow + rank) of the pending pairs, group by group.
    let order: UnsafeMutablePointer<Int32>
    /// Sorted by lane, function, expert.
    private(set) var groups: UnsafeMutableBufferPointer<Group>
    private let room: UnsafeMutableBufferPointer<Group>
    private let counts: UnsafeMutablePointer<Int>
    private let loads: UnsafeMutablePointer<Int>
    private let experts: Int

    /// What reading an expert's weights costs, counted in pairs.
    private static let weightCost = 6
    /// Smallest part of a group that is cut.
    private static let leastCut = 16

    /// - Parameters: most slots of a layer's work, experts of a layer, most lanes.
    init(slots: Int, experts: Int, lanes: Int) {
        self.experts = experts
        order = .allocate(capacity: slots)
        counts = .allocate(capacity: experts)
        loads = .allocate(capacity: lanes)
        // Cutting adds at most 4 parts per lane, plus one per expert for the rest.
        room = .allocate(capacity: experts + slots / Self.leastCut + 1)
        groups = UnsafeMutableBufferPointer(start: room.baseAddress, count: 0)
    }

    deinit {
        order.deallocate()
        counts.deallocate()
        loads.deallocate()
        room.deallocate()
    }

    /// Plans the slots below `slots` that `isPending` tells of.
    func make(
        slots: Int, lanes: Int, expert: (Int) -> Int, isPending: (Int) -> Bool, function: (Int) -> Int
    ) {
        counts.update(repeating: 0, count: experts)
        var pending = 0
        for slot in 0..<slots where isPending(slot) {
            counts[expert(slot)] += 1
            pending += 1
        }
        let most = max(Self.leastCut, (pending / lanes + 3) / 4)
        var made = 0
        var start = 0
        for index in 0..<experts where counts[index] > 0 {
            let count = counts[index]
            var first = 0
            while first < count {
                let part = min(most, count - first)
                room[made] = Group(
                    expert: index, function: function(index), start: start + first, count: part, lane: 0)
                made += 1
                first += part
            }
            // From here on: where the expert's next slot goes.
            counts[index] = start
            start += count
        }
        for slot in 0..<slots where isPending(slot) {
            order[counts[expert(slot)]] = Int32(slot)
            counts[expert(slot)] += 1
        }
        groups = UnsafeMutableBufferPointer(rebasing: room[..<made])
        assign(lanes)
    }

    private func assign(_ lanes: Int) {
        groups.sort { $0.count > $1.count }
        loads.update(repeating: 0, count: lanes)
        for index in groups.indices {
            var least = 0
            for lane in 1..<max(1, lanes) where loads[lane] < loads[least] { least = lane }
            groups[index].lane = least
            loads[least] += groups[index].count + Self.weightCost
        }
        groups.sort { ($0.lane, $0.function, $0.expert, $0.start) < ($1.lane, $1.function, $1.expert, $1.start) }
    }
}

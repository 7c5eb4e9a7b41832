// What LocumPolicy has learned of a layer and of a model: how calls depend on the time since the last one, how many
// items a visit calls, how often visits come. All of it decays, because a conversation changes its subject.
//
// Calls are stored multiplied by `scale`, which grows by one step per visit instead of all of them shrinking; when it
// gets too large for comfort, `open` asks for one pass that divides them.

/// Calls by the age of the item: seen, and to be expected from frequencies alone.
struct RecencyCounts: Sendable {
    var hits = InlineArray<8, Double>(repeating: 0)
    var expected = InlineArray<8, Double>(repeating: 0)

    static let ages = 8

    /// 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, more visits ago.
    @inline(__always)
    static func age(_ visits: UInt32) -> Int {
        min(ages - 1, UInt32.bitWidth - (max(visits, 1) - 1).leadingZeroBitCount)
    }

    /// What could be called at a visit that begins; what was learned before fades.
    mutating func add(expected new: InlineArray<8, Double>, halvingIn visits: Double) {
        // 2^(-1/n) to first order.
        let fade = 1 - 0.693_147_180_6 / visits
        for age in 0..<Self.ages {
            hits[age] *= fade
            expected[age] = expected[age] * fade + new[age]
        }
    }

    /// How much likelier than expected an item of this age is called. The prior weighs like so many expected calls.
    func ratio(_ age: Int, prior: Double, weight: Double) -> Double {
        (hits[age] + weight * prior) / (expected[age] + weight)
    }
}

struct ModelHistory: Sendable {
    /// Layers with items.
    var layers = 0
    /// The layer that is being visited.
    var visited: Int?
    var recency = RecencyCounts()

    mutating func opened(_ layer: Int, expected: InlineArray<8, Double>) {
        visited = layer
        recency.add(expected: expected, halvingIn: 200 * Double(max(layers, 1)))
    }
}

struct LayerHistory: Sendable {
    let model: Int
    let layer: Int
    /// Visits so far, modulo 2^32.
    private(set) var clock: UInt32 = 0
    private(set) var scale = 1.0
    /// Decayed visits.
    private var visits = 0.0
    /// Calls within the visit under way, and in a visit on the mean.
    var calls = 0
    private var meanCalls = 0.0
    /// Of all layers' visits: which one was this layer's last, and how many lie between two of its own.
    private(set) var lastVisit = 0
    private(set) var gap = 1.0
    var recency = RecencyCounts()

    /// An item's frequency is calls * perCall + floor.
    private(set) var perCall = 0.0
    private(set) var floor = 0.0
    /// Recency by age; `isLearned` is false when `learn` has to bring it up to date.
    private(set) var ratios = InlineArray<8, Double>(repeating: 1)
    var isLearned = false

    init(model: Int, layer: Int) { (self.model, self.layer) = (model, layer) }

    /// Half-life of calls: 128 visits.
    private static let growth = 1.005_430_078
    /// The mean counts as so many visits in each item's frequency.
    private static let meanVisits = 16.0

    /// Begins a visit. Answers the factor that all stored calls must be multiplied with, if there is one.
    mutating func open(now: Int, layers: Int, members: Int) -> Double? {
        if visits == 0 {
            gap = Double(max(layers, 1))
        } else {
            // The first visit after an idle time says little about the visits to come.
            let seen = min(Double(now - lastVisit), 4 * gap)
            gap = max(1, gap + (seen - gap) / 8)
            meanCalls = visits == 1 ? Double(calls) : meanCalls + (Double(calls) - meanCalls) / 32
        }
        (lastVisit, calls) = (now, 0)
        clock &+= 1
        scale *= Self.growth
        visits = visits / Self.growth + 1
        let factor = scale > 1e60 ? 1 / scale : nil
        if factor != nil { scale = 1 }
        perCall = 1 / (scale * (visits + Self.meanVisits))
        floor = Self.meanVisits / (visits + Self.meanVisits) * meanCalls / Double(max(members, 1))
        isLearned = false
        return factor
    }

    /// Brings `ratios` up to date. A layer's own experience weighs more the more there is of it.
    mutating func learn(from model: ModelHistory) {
        for age in 0..<RecencyCounts.ages {
            ratios[age] = recency.ratio(
                age, prior: model.recency.ratio(age, prior: 1, weight: 1), weight: Self.meanVisits)
        }
        isLearned = true
    }
}

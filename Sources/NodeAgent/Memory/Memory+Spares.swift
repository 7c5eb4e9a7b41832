// What routers keep of ended sequences for requests to come: reserved as before, and given back when somebody else needs
// it. A router answers between two steps, so what it was asked for counts as on its way for a moment only; then the next
// is asked.
import Scheduler

/// Kept for requests to come.
struct Spare {
    private(set) var bytes = 0
    /// The router was asked for so much of it, and when last.
    private(set) var asked = 0
    private var askedAt: UInt64 = 0

    /// How long a router may take to answer before others are asked.
    private static let patience = UInt64.milliseconds(200)

    /// What will come free soon.
    func coming(at now: UInt64) -> Int { now &- askedAt < Self.patience ? asked : 0 }

    mutating func ask(_ more: Int, at now: UInt64) { (asked, askedAt) = (asked + more, now) }

    /// The router keeps so much now: what it gave back, it was asked for.
    mutating func update(_ now: Int) {
        asked = max(0, min(asked - max(0, bytes - now), now))
        bytes = now
    }

    mutating func shrink(to most: Int) { if bytes > most { update(most) } }
}

extension Memory {
    /// A router keeps so much, in all, of what is reserved for its sequences.
    func spare(_ bytes: Int, of router: Instance) {
        let kept = min(bytes, sequences[router.id] ?? 0)
        var spare = spares[router.id] ?? Spare()
        spare.update(kept)
        spares[router.id] = kept > 0 ? spare : nil
        advance()
    }

    /// Routers were asked just now: nobody has to end before they answer.
    var isReclaiming: Bool { coming(at: monotonic()) > 0 }

    private func coming(at now: UInt64) -> Int { spares.values.reduce(0) { $0 + $1.coming(at: now) } }

    /// Has routers give back what others lack, and what they keep beyond their part: an eighth of what there is beside
    /// routers and one layer, and memory that nobody else uses.
    /// - Parameters:
    ///   - needed: bytes that others lack.
    ///   - waiting: bytes that shards make room for.
    func reclaimSpares(needed: Int, waiting: Int) {
        guard !spares.isEmpty else { return }
        let unused = max(0, free - heldBack - waiting - residency.used)
        let most = max(0, total - floor) / 8 + unused
        let now = monotonic()
        var wanted = max(needed, spares.values.reduce(-most) { $0 + $1.bytes }) - coming(at: now)
        for (router, spare) in spares.sorted(by: { $0.key < $1.key }) where wanted > 0 && spare.asked < spare.bytes {
            let bytes = min(wanted, spare.bytes - spare.asked)
            spares[router]?.ask(bytes, at: now)
            wanted -= bytes
            reclaim(router, bytes)
        }
    }
}

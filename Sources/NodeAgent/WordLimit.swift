// How much a worker may tell node: far more than an honest one ever does, and little enough that node has time for others.

/// A bucket of messages that fills by `perSecond`, up to one second's worth.
struct WordLimit {
    let perSecond: UInt64
    /// In nanoseconds of its filling.
    private var left: UInt64 = 1_000_000_000
    private var last = monotonic()

    init(perSecond: UInt64) { self.perSecond = perSecond }

    /// Takes one message out; false when there is none.
    mutating func take(at now: UInt64 = monotonic()) -> Bool {
        left = min(1_000_000_000, left &+ (now &- last))
        last = now
        let one = 1_000_000_000 / perSecond
        guard left >= one else { return false }
        left -= one
        return true
    }
}

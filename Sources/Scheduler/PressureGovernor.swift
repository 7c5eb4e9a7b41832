// How much of the budget is held back while the host is short of memory. The budget is a promise to whoever set it; the
// host may have less than that to give for a while, and then everybody on it waits for pages. The kernel says so (PSI:
// the share of time in which some task waited for memory). Held back quickly, given again slowly, so that it settles.
// Pure: whoever measures calls `observe` at a steady pace.

/// Holds shards' memory back under pressure.
public struct PressureGovernor: Sendable, Equatable {
    /// Share of what shards could have beyond one layer's needs, 0 to 1.
    public private(set) var heldBack = 0.0

    /// Stalled for more than this share of the time: hold more back; for less than the other: give some again.
    private static let high = 0.10
    private static let low = 0.02
    private static let up = 1.0 / 8
    private static let down = 1.0 / 32

    public init() {}

    /// - Parameter stalled: share of the last seconds in which some task waited for memory, 0 to 1.
    public mutating func observe(stalled: Double) {
        if stalled > Self.high {
            heldBack = min(1, heldBack + Self.up)
        } else if stalled < Self.low {
            heldBack = max(0, heldBack - Self.down)
        }
    }
}

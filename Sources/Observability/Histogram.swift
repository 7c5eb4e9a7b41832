// How often which values came, in fixed steps, so that quantiles can be computed over many processes and any time.

/// Counts of values up to each of some bounds.
public struct Histogram: Sendable, Equatable {
    /// Rising; in the unit of the values. Above the last one there is one more step.
    public let bounds: [Double]
    /// Per step, not cumulative: one more than there are bounds.
    public private(set) var counts: [UInt64]
    public private(set) var sum = 0.0

    public init(bounds: [Double]) {
        self.bounds = bounds
        counts = [UInt64](repeating: 0, count: bounds.count + 1)
    }

    /// Half a millisecond to a minute.
    public static let seconds = Histogram(
        bounds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60])

    /// Adds a value; what is no number is left out, as it would spoil the sum for ever.
    public mutating func observe(_ value: Double) {
        guard value.isFinite else { return }
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }

    public var count: UInt64 { counts.reduce(0, +) }
}

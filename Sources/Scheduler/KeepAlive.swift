// How long a function stays after its last call, learned from its own past (Shahrad et al., Serverless in the Wild,
// ATC 2020): a histogram of the times between calls, of which a high percentile is waited for. Where the paper has
// 240 bins of a minute, we have four per octave from 10 ms on, because experts are called at both ends of that range;
// memory stays at 100 counts per function.
//
// The histogram is not believed when it holds few calls, or when most times between calls lie beyond the ceiling
// (waiting for them would not pay, and what is inside is not typical): then the default holds. Counts are halved now
// and then, so that a function's new habits prevail.

/// What a keep-alive may be.
public struct KeepAliveLimits: Sendable, Equatable {
    public var floor: Duration
    public var ceiling: Duration
    /// For a function that nothing is known of.
    public var unknown: Duration
    /// An operator's fixed idle timeout; it overrides everything.
    public var fixed: Duration?

    public init(
        floor: Duration = .seconds(5), ceiling: Duration = .seconds(3600), unknown: Duration = .seconds(600),
        fixed: Duration? = nil
    ) {
        self.floor = floor
        self.ceiling = max(floor, ceiling)
        self.unknown = min(max(unknown, floor), self.ceiling)
        self.fixed = fixed
    }
}

/// One function's calls, as far as its keep-alive needs them.
public struct KeepAlive: Sendable {
    private var counts = [UInt16](repeating: 0, count: Self.bins)
    private var total = 0
    private var last: Duration?

    private static let bins = 100
    /// Fewer times between calls are no histogram.
    private static let fewest = 10
    /// So many are halved.
    private static let most = 4096
    /// 2^(1/4), 2^(2/4), 2^(3/4).
    private static let quarters = [1.0, 1.189_207_115, 1.414_213_562, 1.681_792_831]
    private static let shortest = 0.01

    public init() {}

    /// A call came at this time since some fixed moment. Times must not fall; one that does counts as no time passed.
    public mutating func arrived(at moment: Duration) {
        defer { last = max(moment, last ?? moment) }
        guard let last else { return }
        counts[Self.bin(max(.zero, moment - last))] += 1
        total += 1
        guard total >= Self.most else { return }
        for bin in counts.indices { counts[bin] /= 2 }
        total = counts.reduce(0) { $0 + Int($1) }
    }

    /// How long it should stay after a call.
    ///
    /// - Parameter percentile: share of the times between calls to be bridged, 0...1.
    public func keepAlive(_ limits: KeepAliveLimits, percentile: Double = 0.99) -> Duration {
        if let fixed = limits.fixed { return fixed }
        let end = Self.bin(limits.ceiling)
        let within = counts[...end].reduce(0) { $0 + Int($1) }
        guard total >= Self.fewest, 2 * within >= total else { return limits.unknown }
        // Times beyond the ceiling are not bridged whatever we do, so the percentile is of those within it.
        let rank = max(1, Int((percentile * Double(within)).rounded(.up)))
        var sum = 0
        for bin in 0...end {
            sum += Int(counts[bin])
            if sum >= rank { return min(max(Self.upperEdge(bin), limits.floor), limits.ceiling) }
        }
        return limits.ceiling
    }

    private static func bin(_ time: Duration) -> Int {
        let ratio = time / .seconds(1) / shortest
        guard ratio >= 1 else { return 0 }
        let octave = Int(ratio.exponent)
        let quarter = quarters.lastIndex { $0 <= ratio.significand } ?? 0
        return min(4 * octave + quarter + 1, bins - 1)
    }

    private static func upperEdge(_ bin: Int) -> Duration {
        .seconds(shortest * Double(sign: .plus, exponent: bin / 4, significand: quarters[bin % 4]))
    }
}

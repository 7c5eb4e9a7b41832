// A limit of tokens per minute. What a request will cost is known only when it has ended, so a request may begin while
// anything is left, and what it costs beyond that is owed. Pure: the caller says what time it is.

/// Tokens that a tenant may still use.
public struct TokenBucket: Sendable, Equatable {
    public let perMinute: Int
    private var left: Double
    private var filled: Duration

    /// A full one.
    public init(perMinute: Int, now: Duration) {
        (self.perMinute, left, filled) = (max(1, perMinute), Double(max(1, perMinute)), now)
    }

    /// Tokens that may be used at once; below 0 what is owed.
    public func balance(now: Duration) -> Int { Int(amount(now).rounded(.down)) }

    /// How long until a request may begin; zero: now.
    public func wait(now: Duration) -> Duration {
        let missing = 1 - amount(now)
        return missing <= 0 ? .zero : .seconds(missing * 60 / Double(perMinute))
    }

    /// How long until it is full.
    public func untilFull(now: Duration) -> Duration {
        .seconds((Double(perMinute) - amount(now)) * 60 / Double(perMinute))
    }

    public mutating func spend(_ tokens: Int, now: Duration) {
        (left, filled) = (amount(now) - Double(tokens), now)
    }

    private func amount(_ now: Duration) -> Double {
        min(Double(perMinute), left + max(0, (now - filled) / .seconds(1)) * Double(perMinute) / 60)
    }
}

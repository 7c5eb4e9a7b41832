// Eviction to zero, as a function of what node reported. Whoever has nothing under way and last answered longer
// ago than the idle time goes; the next look is when the first of the others could be due, so that a table at
// rest is looked at once per idle time and an empty one never.
import Wire

/// The fixed idle time.
public struct IdlePolicy: Sendable, Equatable {
    public var timeout: Duration
    /// An instance that is not ready after this long is given up.
    public var startLimit: Duration

    public init(timeout: Duration, startLimit: Duration = .seconds(60)) {
        (self.timeout, self.startLimit) = (timeout, startLimit)
    }

    /// What to do now and when to look again.
    public struct Decision: Sendable, Equatable {
        public var evict: [UInt64]
        /// Nil: nothing is left to watch.
        public var nextLook: Duration?
    }

    /// Never sooner than this, so that a wrong clock cannot make a busy loop.
    static let shortestLook = Duration.milliseconds(20)

    /// - Parameter instances: with the usage of a report made at `now`.
    public func decide(_ instances: [Instance], now: Moment) -> Decision {
        var decision = Decision(evict: [], nextLook: nil)
        for instance in instances {
            guard let left = remaining(instance, now: now) else { continue }
            if left <= .zero {
                decision.evict.append(instance.id)
            } else {
                decision.nextLook = min(decision.nextLook ?? left, left)
            }
        }
        decision.evict.sort()
        decision.nextLook = decision.nextLook.map { max($0, Self.shortestLook) }
        return decision
    }

    /// How long an instance may stay if nobody calls it; nil when it is leaving already.
    private func remaining(_ instance: Instance, now: Moment) -> Duration? {
        switch instance.state {
        case .draining: nil
        case .starting: startLimit - (now - instance.requested)
        case .ready:
            if let usage = instance.usage {
                usage.active > 0 ? timeout : timeout - .milliseconds(Int64(clamping: usage.idleMilliseconds))
            } else {
                timeout
            }
        }
    }
}

// Eviction to zero, as a function of what node reported. Whoever has nothing under way and last answered longer
// ago than the idle time goes; the next look is when the first of the others could be due, so that a table at
// rest is looked at once per idle time and an empty one never.
//
// How long an instance may idle is learned from its function's own calls, unless the operator fixed it.
import FunctionModel
public import Scheduler
import Wire

/// When idle instances go.
public struct IdlePolicy: Sendable, Equatable {
    public var limits: KeepAliveLimits
    /// An instance that is not ready after this long is given up.
    public var startLimit: Duration
    /// Routers stay at least this long, with what they keep of their conversations.
    public var keepSessions: Duration

    /// - Parameter fixed: the operator's idle time; nil: learned, 30 s as long as nothing is known.
    public init(fixed: Duration?, keepSessions: Duration = .zero, startLimit: Duration = .seconds(60)) {
        self.keepSessions = keepSessions
        limits = KeepAliveLimits(floor: .seconds(5), ceiling: .seconds(600), unknown: .seconds(30), fixed: fixed)
        self.startLimit = startLimit
    }

    /// The earliest time at which a new instance could go.
    var first: Duration { limits.fixed ?? limits.floor }

    /// What to do now and when to look again.
    public struct Decision: Sendable, Equatable {
        public var evict: [UInt64]
        /// Nil: nothing is left to watch.
        public var nextLook: Duration?
    }

    /// Never sooner than this, so that a wrong clock cannot make a busy loop.
    static let shortestLook = Duration.milliseconds(20)

    /// - Parameters:
    ///   - instances: with the usage of a report made at `now`.
    ///   - habit: what is known of the calls of an instance's function.
    public func decide(
        _ instances: [Instance], now: Moment, habit: (Instance) -> KeepAlive? = { _ in nil }
    ) -> Decision {
        var decision = Decision(evict: [], nextLook: nil)
        for instance in instances {
            let learned = habit(instance)?.keepAlive(limits) ?? limits.fixed ?? limits.unknown
            let timeout = instance.function.runtime == .router ? max(learned, keepSessions) : learned
            guard let left = remaining(instance, now: now, timeout: timeout) else { continue }
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
    private func remaining(_ instance: Instance, now: Moment, timeout: Duration) -> Duration? {
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

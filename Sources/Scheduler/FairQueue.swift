// Who runs next where more want to run than can: the tenant that has had the least time of its share. Time is virtual, as in
// stride scheduling (Waldspurger, Weihl: Stride Scheduling, 1995): a tenant's clock runs faster the more of its tickets run
// and slower the greater its weight. Pure: the caller says what time it is.

/// What a tenant may claim in a queue.
public struct FairShare: Sendable, Equatable {
    /// Against other tenants that wait, from 1.
    public var weight: Int
    /// Goes after all that are not, and never has all places.
    public var isBatch: Bool

    public init(weight: Int = 1, isBatch: Bool = false) { (self.weight, self.isBatch) = (max(1, weight), isBatch) }
}

/// Places for tickets, each of a tenant.
public struct FairQueue: Sendable {
    private struct Account {
        var share: FairShare
        /// Seconds of places that it had, divided by its weight.
        var clock: Double
        var running = 0
        /// In order of arrival.
        var waiting: [(ticket: UInt64, since: Duration)] = []
        var isIdle: Bool { running == 0 && waiting.isEmpty }
    }

    /// Seconds that a tenant which comes back is ahead of those that were there: it goes first, but cannot make up for the time
    /// that it was away.
    public static let credit = 1.0
    /// A batch ticket that has waited so long takes its turn among the others.
    public static let patience = Duration.seconds(60)

    private let places: Int
    private var accounts: [String: Account] = [:]
    private var settled = Duration.zero
    public private(set) var running = 0
    public private(set) var waiting = 0

    /// - Parameter places: tickets that run at once.
    public init(places: Int) { self.places = max(1, places) }

    /// Tickets of a tenant that run or wait.
    public func tickets(of tenant: String) -> Int {
        accounts[tenant].map { $0.running + $0.waiting.count } ?? 0
    }

    /// A ticket wants to run.
    /// - Returns: whether it does; otherwise it waits.
    public mutating func enter(_ ticket: UInt64, of tenant: String, _ share: FairShare, now: Duration) -> Bool {
        settle(now)
        let begin = latest - Self.credit / Double(share.weight)
        var account = accounts[tenant] ?? Account(share: share, clock: begin)
        account.share = share
        if account.isIdle { account.clock = max(account.clock, begin) }
        if mayRun(yields: share.isBatch) {
            account.running += 1
            running += 1
            accounts[tenant] = account
            return true
        }
        account.waiting.append((ticket, now))
        accounts[tenant] = account
        waiting += 1
        return false
    }

    /// A waiting ticket gives up.
    /// - Returns: whether it waited.
    public mutating func cancel(_ ticket: UInt64, of tenant: String) -> Bool {
        guard let index = accounts[tenant]?.waiting.firstIndex(where: { $0.ticket == ticket }) else { return false }
        accounts[tenant]?.waiting.remove(at: index)
        waiting -= 1
        forget(tenant)
        return true
    }

    /// A ticket that ran has ended.
    /// - Returns: those that run now; more than one when a batch ticket alone kept the last place free.
    public mutating func leave(_ tenant: String, now: Duration) -> [UInt64] {
        settle(now)
        accounts[tenant]?.running -= 1
        running -= 1
        var started: [UInt64] = []
        while let (next, ticket) = takeNext(now) {
            accounts[next]?.running += 1
            running += 1
            started.append(ticket)
        }
        forget(tenant)
        return started
    }

    /// One place is kept free of batch work, so that nobody who waits for an answer waits for it.
    private func mayRun(yields: Bool) -> Bool { running < (yields && places > 1 ? places - 1 : places) }

    private mutating func takeNext(_ now: Duration) -> (tenant: String, ticket: UInt64)? {
        var best: (tenant: String, yields: Bool, clock: Double, ticket: UInt64)?
        for (tenant, account) in accounts {
            guard let head = account.waiting.first else { continue }
            let yields = account.share.isBatch && now - head.since < Self.patience
            guard mayRun(yields: yields) else { continue }
            guard let current = best else {
                best = (tenant, yields, account.clock, head.ticket)
                continue
            }
            if (yields ? 1 : 0, account.clock, head.ticket) < (current.yields ? 1 : 0, current.clock, current.ticket) {
                best = (tenant, yields, account.clock, head.ticket)
            }
        }
        guard let best else { return nil }
        accounts[best.tenant]?.waiting.removeFirst()
        waiting -= 1
        return (best.tenant, best.ticket)
    }

    /// Lets the clocks run up to now.
    private mutating func settle(_ now: Duration) {
        let seconds = (now - settled) / .seconds(1)
        settled = now
        guard seconds > 0 else { return }
        for (tenant, account) in accounts where account.running > 0 {
            accounts[tenant]?.clock += seconds * Double(account.running) / Double(account.share.weight)
        }
    }

    /// Where the slowest clock of those stands who have something to do: who comes anew begins there.
    private var latest: Double { accounts.values.lazy.filter { !$0.isIdle }.map(\.clock).min() ?? 0 }

    /// Nothing of a tenant is left: its clock counts no more, unless it is ahead of others, who would lose by its coming back.
    private mutating func forget(_ tenant: String) {
        guard let account = accounts[tenant], account.isIdle else { return }
        if running == 0, waiting == 0 { return accounts.removeAll() }
        if account.clock <= latest { accounts[tenant] = nil }
    }
}

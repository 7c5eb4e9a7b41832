// Who runs next where more want to run than can: the tenant that has had the least time of its share. Time is virtual, as in
// stride scheduling (Waldspurger, Weihl: Stride Scheduling, 1995): a tenant's clock runs faster the more of its tickets run
// and slower the greater its weight. What a ticket costs is known only afterwards, so at first all places count alike, and
// what experts have computed for each corrects that. Pure: the caller says what time it is.

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
        /// Seconds of average places that it had, divided by its weight.
        var clock: Double
        var running = 0
        /// When it had its latest turn; nil: never.
        var lastTurn: Duration?
        /// In order of arrival.
        var waiting: [(ticket: UInt64, since: Duration)] = []
        var isIdle: Bool { running == 0 && waiting.isEmpty }
    }

    /// What comes first of several that wait.
    private enum Rank: Int {
        case patient, interactive, yielding
    }

    /// Seconds that a tenant which comes back is ahead of those that were there: it goes first, but cannot make up for the time
    /// that it was away.
    public static let credit = 1.0
    /// A batch tenant that waits has a turn so often whoever else waits.
    public static let patience = Duration.seconds(60)

    private var places: Int
    /// Beyond `places`, for tenants that have none and are owed one: nobody waits until somebody else's tickets have ended.
    private let spare: Int
    private var accounts: [String: Account] = [:]
    private var settled = Duration.zero
    /// Where the clock of the latest stood that had a turn, for interactive tenants and for batch ones: who comes anew begins
    /// there, whoever of those that wait or run is far behind or ahead (start-time fair queueing: Goyal, Vin, Cheng, 1996).
    private var floors = (interactive: 0.0, batch: 0.0)
    /// Of what experts have computed for tickets lately: seconds, and these times the seconds per second of a place. So a
    /// place at which nothing is computed does not make the others' work seem dear.
    private var computed = (seconds: 0.0, timesRate: 0.0)
    /// Weight of what came before in these, per report.
    private static let memory = 0.995
    public private(set) var running = 0
    public private(set) var waiting = 0

    /// - Parameters:
    ///   - places: tickets that run at once.
    ///   - spare: as many more may, of tenants that have none running and have had less than others lately.
    public init(places: Int, spare: Int = 0) { (self.places, self.spare) = (max(1, places), spare) }

    /// Tickets of a tenant that run.
    public func running(of tenant: String) -> Int { accounts[tenant]?.running ?? 0 }

    /// A ticket wants to run.
    /// - Returns: those that run now, with it or without: otherwise it waits.
    public mutating func enter(_ ticket: UInt64, of tenant: String, _ share: FairShare, now: Duration) -> [UInt64] {
        settle(now)
        let begin = beginning(share)
        var account = accounts[tenant] ?? Account(share: share, clock: begin)
        account.share = share
        // Who waits for nothing is owed nothing.
        if account.waiting.isEmpty { account.clock = max(account.clock, begin) }
        account.waiting.append((ticket, now))
        accounts[tenant] = account
        waiting += 1
        return fill(now)
    }

    /// A waiting ticket gives up.
    /// - Returns: whether it waited.
    public mutating func cancel(_ ticket: UInt64, of tenant: String) -> Bool {
        guard let index = accounts[tenant]?.waiting.firstIndex(where: { $0.ticket == ticket }) else { return false }
        accounts[tenant]?.waiting.remove(at: index)
        waiting -= 1
        forget()
        return true
    }

    /// A ticket that ran has ended.
    /// - Returns: those that run now; more than one when batch work had left places free.
    public mutating func leave(_ tenant: String, now: Duration) -> [UInt64] {
        settle(now)
        accounts[tenant]?.running -= 1
        running -= 1
        let started = fill(now)
        forget()
        return started
    }

    /// For so long one of its tickets has held a place that was of no use to it: its clock goes back.
    public mutating func refund(_ tenant: String, _ time: Duration, now: Duration) {
        settle(now)
        advance(tenant, by: -max(0, time / .seconds(1)))
    }

    /// What experts have computed for one of its tickets in the time that it has held its place, since this was last said:
    /// that counts, not the time. A place without any counts a quarter, since others want it.
    public mutating func note(_ tenant: String, computed work: Duration, held: Duration, now: Duration) {
        settle(now)
        let (work, held) = (max(0, work / .seconds(1)), held / .seconds(1))
        guard held > 0 else { return }
        computed.seconds = computed.seconds * Self.memory + work
        computed.timesRate = computed.timesRate * Self.memory + work * work / held
        guard computed.timesRate > 0 else { return }
        let worth = work * computed.seconds / computed.timesRate
        advance(tenant, by: max(worth, held / 4) - held)
    }

    private mutating func advance(_ tenant: String, by seconds: Double) {
        guard let weight = accounts[tenant]?.share.weight else { return }
        accounts[tenant]?.clock += seconds / Double(weight)
    }

    /// Other places than before; what runs goes on.
    /// - Returns: those that run now.
    public mutating func change(places: Int, now: Duration) -> [UInt64] {
        self.places = max(1, places)
        settle(now)
        return fill(now)
    }

    private mutating func fill(_ now: Duration) -> [UInt64] {
        var started: [UInt64] = []
        while let tenant = next(now), let ticket = accounts[tenant]?.waiting.removeFirst().ticket {
            waiting -= 1
            start(tenant, now)
            started.append(ticket)
        }
        return started
    }

    /// One place is kept free of batch work that yields, so that nobody who waits for an answer waits for it; and batch work
    /// that has lost patience never has all places.
    private func mayRun(_ rank: Rank) -> Bool {
        switch rank {
        case .interactive: return running < places
        case .yielding: return running < max(1, places - 1)
        case .patient:
            let batch = accounts.values.reduce(0) { $0 + ($1.share.isBatch ? $1.running : 0) }
            return running < places && batch < max(1, places - 1)
        }
    }

    private func next(_ now: Duration) -> String? {
        var best: (tenant: String, rank: Rank, clock: Double, ticket: UInt64)?
        // Of those that run.
        let latest = running < places + spare ? accounts.values.filter { $0.running > 0 }.map(\.clock).max() : nil
        for (tenant, account) in accounts {
            guard let head = account.waiting.first else { continue }
            let waits = now - max(head.since, account.lastTurn ?? head.since)
            let rank: Rank = !account.share.isBatch ? .interactive : waits >= Self.patience ? .patient : .yielding
            // A spare place: it has none, and of those that run somebody has had at least as much.
            let mayHaveSpare =
                !account.share.isBatch && account.running == 0 && latest.map { $0 >= account.clock } ?? false
            guard mayRun(rank) || mayHaveSpare else { continue }
            if let best,
                (best.rank.rawValue, best.clock, best.ticket) < (rank.rawValue, account.clock, head.ticket)
            {
                continue
            }
            best = (tenant, rank, account.clock, head.ticket)
        }
        return best?.tenant
    }

    private mutating func start(_ tenant: String, _ now: Duration) {
        guard var account = accounts[tenant] else { return }
        account.running += 1
        account.lastTurn = now
        if account.share.isBatch {
            floors.batch = max(floors.batch, account.clock)
        } else {
            floors.interactive = max(floors.interactive, account.clock)
        }
        accounts[tenant] = account
        running += 1
    }

    /// Where a tenant's clock stands that comes anew.
    private func beginning(_ share: FairShare) -> Double {
        (share.isBatch ? floors.batch : floors.interactive) - Self.credit / Double(share.weight)
    }

    /// Lets the clocks run up to now.
    private mutating func settle(_ now: Duration) {
        let seconds = (now - settled) / .seconds(1)
        settled = max(settled, now)
        guard seconds > 0 else { return }
        for (tenant, account) in accounts where account.running > 0 {
            accounts[tenant]?.clock += seconds * Double(account.running) / Double(account.share.weight)
        }
    }

    /// Forgets tenants whose clocks say no more than a new one's would, or that nobody is left to be fair to.
    private mutating func forget() {
        if running == 0, waiting == 0 { return accounts.removeAll() }
        for (tenant, account) in accounts where account.isIdle && account.clock <= beginning(account.share) {
            accounts[tenant] = nil
        }
    }
}

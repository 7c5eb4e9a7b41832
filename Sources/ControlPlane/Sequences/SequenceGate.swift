// The bounded queue in front of a model's router, or of a tenant: so many sequences run, so many of each tenant wait, and one
// more is refused at once (HTTP 429) rather than left to time out. A request with several sequences gets places for all or
// none. Whose turn it is next is `FairQueue`'s to say.
import Scheduler
import Synchronization

/// Turns for sequences.
final class SequenceGate: Sendable {
    private struct State {
        var queue: FairQueue
        /// Places given out to each tenant: running, waiting, or about to wait. Never more than `atOnce + queue`.
        var places: [String: Int] = [:]
        /// Of a tenant.
        var most: Int
        /// nil: cancelled before it waited.
        var waiting: [UInt64: CheckedContinuation<Bool, Never>] = [:]
        var cancelled: Set<UInt64> = []
        var nextTicket: UInt64 = 0

        /// Those that wait for these turns.
        mutating func started(_ tickets: [UInt64]) -> [CheckedContinuation<Bool, Never>] {
            tickets.compactMap { waiting.removeValue(forKey: $0) }
        }

        mutating func giveBack(_ tenant: String) {
            places[tenant, default: 1] -= 1
            if places[tenant] == 0 { places[tenant] = nil }
        }
    }
    private let state: Mutex<State>
    private let now: @Sendable () -> Moment

    /// - Parameters:
    ///   - atOnce: sequences that run.
    ///   - queue: sequences of a tenant that may wait.
    ///   - spare: sequences that run beyond `atOnce`, of tenants that have none running.
    init(atOnce: Int, queue: Int, spare: Int = 0, now: @escaping @Sendable () -> Moment = Controller.monotonic) {
        self.now = now
        state = Mutex(State(queue: FairQueue(places: atOnce, spare: spare), most: atOnce + queue))
    }

    /// Running and waiting sequences.
    var load: (active: Int, waiting: Int) {
        state.withLock { state in
            let places = state.places.values.reduce(0, +)
            return (state.queue.running, places - state.queue.running)
        }
    }

    /// The same of each tenant that has any.
    var loads: [String: (active: Int, waiting: Int)] {
        state.withLock { state in
            Dictionary(
                uniqueKeysWithValues: state.places.map { tenant, places in
                    let running = state.queue.running(of: tenant)
                    return (tenant, (running, places - running))
                })
        }
    }

    /// Sequences of a tenant that run or wait.
    func places(of tenant: String) -> Int { state.withLock { $0.places[tenant] ?? 0 } }

    /// Other limits than before; what has a place keeps it.
    func change(atOnce: Int, queue: Int) {
        let next = state.withLock { state in
            state.most = atOnce + queue
            return state.started(state.queue.change(places: atOnce, now: now()))
        }
        for continuation in next { continuation.resume(returning: true) }
    }

    /// Sequences in line for a turn.
    var waiting: Int { state.withLock { $0.queue.waiting } }

    /// Takes `count` places, or none when they are not free. Each is given back by `leave` or `abandon`.
    func reserve(_ count: Int, of tenant: String) -> Bool {
        state.withLock { state in
            let taken = state.places[tenant] ?? 0
            guard taken + count <= state.most else { return false }
            state.places[tenant] = taken + count
            return true
        }
    }

    /// Waits for a turn. False when the task was cancelled meanwhile: then there is no turn, and the place must
    /// be given back with `abandon`.
    func enter(_ tenant: String, _ share: FairShare) async -> Bool {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        // The handler runs only within this call, so what it leaves behind goes with it.
        defer { _ = state.withLock { $0.cancelled.remove(ticket) } }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let next: [CheckedContinuation<Bool, Never>]? = state.withLock { state in
                    if state.cancelled.remove(ticket) != nil { return nil }
                    state.waiting[ticket] = continuation
                    return state.started(state.queue.enter(ticket, of: tenant, share, now: now()))
                }
                guard let next else { return continuation.resume(returning: false) }
                for continuation in next { continuation.resume(returning: true) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
                if state.queue.cancel(ticket, of: tenant) { return state.waiting.removeValue(forKey: ticket) }
                // Not waiting yet, or already running; the first is told when it comes.
                state.cancelled.insert(ticket)
                return nil
            }
            waiter?.resume(returning: false)
        }
    }

    /// Time that a place of the tenant's was held for no use of its own.
    func refund(_ tenant: String, _ time: Duration) {
        state.withLock { $0.queue.refund(tenant, time, now: now()) }
    }

    /// What experts have computed for a sequence of the tenant's in the time that it has held its place since the last report.
    func note(_ tenant: String, computed: Duration, held: Duration) {
        state.withLock { $0.queue.note(tenant, computed: computed, held: held, now: now()) }
    }

    /// A sequence that had its turn has ended; the next one runs.
    func leave(_ tenant: String) {
        let next = state.withLock { state in
            state.giveBack(tenant)
            return state.started(state.queue.leave(tenant, now: now()))
        }
        for continuation in next { continuation.resume(returning: true) }
    }

    /// A place that never got its turn is given back.
    func abandon(_ tenant: String) { state.withLock { $0.giveBack(tenant) } }
}

// The bounded queue in front of a model's router: so many sequences run, so many wait, and one more is refused
// at once (HTTP 429) rather than left to time out. A request with several sequences gets places for all or none.
import Synchronization

/// Turns for the sequences of one model.
final class SequenceGate: Sendable {
    private struct State {
        /// Sequences that run.
        var active = 0
        /// Places given out: running, waiting, or about to wait. Never more than `atOnce + queue`.
        var places = 0
        /// In order of arrival; nil continuation: cancelled before it waited.
        var waiting: [(ticket: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
        var cancelled: Set<UInt64> = []
        var nextTicket: UInt64 = 0
    }
    private let state = Mutex(State())
    private let atOnce: Int
    private let queue: Int

    init(atOnce: Int, queue: Int) { (self.atOnce, self.queue) = (atOnce, queue) }

    /// Running and waiting sequences.
    var load: (active: Int, waiting: Int) { state.withLock { ($0.active, $0.places - $0.active) } }

    /// Sequences in line for a turn.
    var waiting: Int { state.withLock { $0.waiting.count } }

    /// Takes `count` places, or none when they are not free. Each is given back by `leave` or `abandon`.
    func reserve(_ count: Int) -> Bool {
        state.withLock { state in
            guard state.places + count <= atOnce + queue else { return false }
            state.places += count
            return true
        }
    }

    /// Waits for a turn. False when the task was cancelled meanwhile: then there is no turn, and the place must
    /// be given back with `abandon`.
    func enter() async -> Bool {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        // The handler runs only within this call, so what it leaves behind goes with it.
        defer { _ = state.withLock { $0.cancelled.remove(ticket) } }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let turn: Bool? = state.withLock { state in
                    if state.cancelled.remove(ticket) != nil { return false }
                    if state.active < atOnce {
                        state.active += 1
                        return true
                    }
                    state.waiting.append((ticket, continuation))
                    return nil
                }
                if let turn { continuation.resume(returning: turn) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
                if let index = state.waiting.firstIndex(where: { $0.ticket == ticket }) {
                    return state.waiting.remove(at: index).continuation
                }
                // Not waiting yet, or already running; the first is told when it comes.
                state.cancelled.insert(ticket)
                return nil
            }
            waiter?.resume(returning: false)
        }
    }

    /// A sequence that had its turn has ended; the next one runs.
    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            state.places -= 1
            if state.waiting.isEmpty {
                state.active -= 1
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        next?.resume(returning: true)
    }

    /// A place that never got its turn is given back.
    func abandon() { state.withLock { $0.places -= 1 } }
}

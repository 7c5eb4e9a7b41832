// How many requests are being answered, so that a daemon that is told to end can let them finish first.
import Synchronization

/// Requests that are being answered, over all listeners of a gateway.
public final class RequestsUnderWay: Sendable {
    private struct State {
        var count = 0
        var isClosed = false
    }
    private let state = Mutex(State())

    /// Lets no more requests in; they are answered 503.
    /// - Returns: how many are still being answered.
    public func close() -> Int {
        state.withLock { state in
            state.isClosed = true
            return state.count
        }
    }

    /// False: it is too late for another one. True: `end` follows.
    func begin() -> Bool {
        state.withLock { state in
            if !state.isClosed { state.count += 1 }
            return !state.isClosed
        }
    }

    func end() { state.withLock { $0.count -= 1 } }
}

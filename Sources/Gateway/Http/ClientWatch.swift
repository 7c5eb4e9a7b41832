// Between a connection and the request under way on it: that the client is gone.
import Synchronization

/// Tells the request under way on a connection that its client has left.
final class ClientWatch: Sendable {
    private enum State {
        case idle
        case watching(@Sendable () -> Void)
        case gone
    }
    private let state = Mutex(State.idle)

    /// One request at a time is under way on a connection; the newest is told.
    func onLeave(_ body: @escaping @Sendable () -> Void) {
        let isGone = state.withLock { state in
            if case .gone = state { return true }
            state = .watching(body)
            return false
        }
        if isGone { body() }
    }

    func clear() {
        state.withLock { if case .watching = $0 { $0 = .idle } }
    }

    func left() {
        let body = state.withLock { state -> (@Sendable () -> Void)? in
            defer { state = .gone }
            if case .watching(let body) = state { return body }
            return nil
        }
        body?()
    }
}

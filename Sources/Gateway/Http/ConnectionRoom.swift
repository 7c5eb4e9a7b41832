// How many connections a listener has, and who leaves when it is full: the one that has waited longest for the rest of
// its request, or for its next. So a thousand idle clients, or clients that send a byte now and then, cost nobody his
// place. Whose answer is under way stays, and so does who has just come; when all are such, newcomers wait in the
// kernel's queue.
import HummingbirdCore
import NIOCore
import Synchronization

final class ConnectionRoom: AvailableConnectionsDelegate {
    private struct State {
        var open = 0
        /// Of them, told to go.
        var leaving = 0
        /// Connections with nothing under way, and since when.
        var waiting: [ObjectIdentifier: (since: NIODeadline, channel: any Channel)] = [:]
        /// Somebody stands outside.
        var isFull = false
        /// A look at who may go is due.
        var isWatched = false
    }

    private let state = Mutex(State())
    private let limit: Int
    private let rest: TimeAmount

    /// - Parameter rest: how long a connection may wait before it has to make room.
    init(limit: Int, rest: TimeAmount) { (self.limit, self.rest) = (limit, rest) }

    func connectionOpened() { state.withLock { $0.open += 1 } }
    func connectionClosed() { state.withLock { $0.open -= 1 } }

    func isAcceptingNewConnections() -> Bool {
        makeRoom()
        return state.withLock { !$0.isFull }
    }

    /// The connection has nothing under way.
    func waits(_ channel: any Channel) {
        let isFull = state.withLock { state in
            state.waiting[ObjectIdentifier(channel)] = (.now(), channel)
            return state.isFull
        }
        if isFull { makeRoom() }
    }

    /// A whole request of the connection is being answered, or the connection has ended.
    func waitsNoMore(_ channel: any Channel) { state.withLock { $0.waiting[ObjectIdentifier(channel)] = nil } }

    /// Sends away as many as there are too many, and looks again when the next may have to go.
    private func makeRoom() {
        let now = NIODeadline.now()
        let (victims, next) = state.withLock { state in
            var victims: [any Channel] = []
            var next: (since: NIODeadline, channel: any Channel)?
            // The listener accepts a few at once, so several may have to go.
            while state.open - state.leaving >= limit {
                guard let (key, oldest) = state.waiting.min(by: { $0.value.since < $1.value.since }) else { break }
                guard oldest.since + rest <= now else {
                    next = state.isWatched ? nil : oldest
                    state.isWatched = true
                    break
                }
                state.waiting[key] = nil
                state.leaving += 1
                victims.append(oldest.channel)
            }
            state.isFull = state.open - state.leaving >= limit
            return (victims, next)
        }
        for victim in victims {
            victim.closeFuture.whenComplete { _ in self.state.withLock { $0.leaving -= 1 } }
            // Not at once: the listener counts ends, and may be asking just now.
            victim.eventLoop.execute { victim.close(promise: nil) }
        }
        next?.channel.eventLoop.scheduleTask(deadline: (next?.since ?? now) + rest) {
            let isFull = self.state.withLock { state in
                state.isWatched = false
                return state.isFull
            }
            if isFull { self.makeRoom() }
        }
    }
}

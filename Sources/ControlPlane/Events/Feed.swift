// The latest of something that goes on, for whoever looks, and all that follows for whoever keeps looking. Bounded on both
// sides: what is old is forgotten, and who does not keep up misses some.
import Synchronization

/// The latest elements, and those to come.
public final class Feed<Element: Sendable>: Sendable {
    private struct State {
        var kept: [Element] = []
        /// Where the next one goes when all places are taken: the oldest's.
        var next = 0
        var number = 0
        var followers: [Int: AsyncStream<Element>.Continuation] = [:]
        var lastFollower = 0
        var isClosed = false

        var inOrder: [Element] { Array(kept[next...] + kept[..<next]) }
    }
    private let state = Mutex(State())
    private let most: Int

    /// - Parameter most: how many are kept, and how many a follower may be behind.
    public init(most: Int) { self.most = most }

    /// Adds an element.
    /// - Parameter make: is told its number, which is one more than that of the one before.
    public func add(_ make: (Int) -> Element) {
        state.withLock { state in
            state.number += 1
            let element = make(state.number)
            if state.kept.count < most {
                state.kept.append(element)
            } else {
                state.kept[state.next] = element
                state.next = (state.next + 1) % most
            }
            for follower in state.followers.values { follower.yield(element) }
        }
    }

    /// Those that are kept, the oldest first.
    public var latest: [Element] { state.withLock { $0.inOrder } }

    /// Those that are kept, and then all that come until `stop` is called or there are none to come.
    public func follow() -> (elements: AsyncStream<Element>, stop: @Sendable () -> Void) {
        let (elements, sink) = AsyncStream<Element>.makeStream(bufferingPolicy: .bufferingNewest(most))
        let id = state.withLock { state in
            for element in state.inOrder { sink.yield(element) }
            state.lastFollower += 1
            if state.isClosed { sink.finish() } else { state.followers[state.lastFollower] = sink }
            return state.lastFollower
        }
        return (elements, { [self] in state.withLock { $0.followers.removeValue(forKey: id) }?.finish() })
    }

    /// There will be no more: followers come to their end.
    public func close() {
        let followers = state.withLock { state in
            state.isClosed = true
            defer { state.followers = [:] }
            return state.followers.values.map { $0 }
        }
        for follower in followers { follower.finish() }
    }
}

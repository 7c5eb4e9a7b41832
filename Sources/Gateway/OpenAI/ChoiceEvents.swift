// The sequences of one request as one stream of events. They end together: when the client leaves, when one
// fails, or when the last reference to this goes, all of them are cancelled.
import Wire

final class ChoiceEvents: Sendable {
    typealias Element = (choice: Int, event: RouterEvent)
    let events: AsyncStream<Element>
    private let task: Task<Void, Never>

    /// - Parameter meter: counts each of them.
    init(_ streams: [AsyncStream<RouterEvent>], _ meter: SequenceMeter) {
        let (events, sink) = AsyncStream<Element>.makeStream()
        self.events = events
        task = Task {
            await withTaskGroup(of: Void.self) { group in
                for (index, stream) in streams.enumerated() {
                    group.addTask {
                        var meter = meter
                        for await event in stream {
                            meter.note(event)
                            sink.yield((index, event))
                        }
                    }
                }
            }
            sink.finish()
        }
    }

    deinit { task.cancel() }

    func cancel() { task.cancel() }
}

// What happens, in plain words. Kept in memory alone: the log, and the journal, have what must not be lost.
public import FunctionModel
import Glibc

/// The latest events.
public final class EventLog: Sendable {
    public let feed = Feed<EventReport>(most: 4096)
    /// Milliseconds since 1970.
    private let date: @Sendable () -> Int64

    public init(date: @escaping @Sendable () -> Int64 = EventLog.now) { self.date = date }

    public static let now: @Sendable () -> Int64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    func add(_ kind: EventReport.Kind, _ subject: String, _ message: String) {
        let time = date()
        feed.add { EventReport(number: $0, time: time, kind: kind, subject: subject, message: message) }
    }
}

// Functions that do not work at all: one instance after another ends before it has answered anything. Starting them again
// at once would keep the host busy and the log full, so after a few such ends there is a pause before the next start,
// twice as long each time. One answer, and all is forgotten.

/// Pauses between the starts of functions whose instances keep ending.
struct CrashLoops {
    /// Ends without an answer that bring no pause yet.
    static let free = 5
    static let shortest = Moment.seconds(1)
    static let longest = Moment.seconds(60)

    private struct Entry {
        var ends = 0
        var until = Moment.zero
        var reason = ""
    }
    private var entries: [UInt64: Entry] = [:]

    /// An instance ended unasked.
    /// - Parameter hasAnswered: it had answered a call, or begun to.
    mutating func ended(_ function: UInt64, hasAnswered: Bool, reason: String, now: Moment) {
        guard !hasAnswered else {
            entries[function] = nil
            return
        }
        var entry = entries[function] ?? Entry()
        entry.ends += 1
        entry.reason = reason
        if entry.ends >= Self.free {
            entry.until = now + min(Self.shortest * (1 << min(entry.ends - Self.free, 10)), Self.longest)
        }
        entries[function] = entry
    }

    /// Why a function is not to be started now; nil when it may be.
    func refusal(_ function: UInt64, now: Moment) -> String? {
        guard let entry = entries[function], now < entry.until else { return nil }
        let seconds = max(1, Int((entry.until - now) / .seconds(1)))
        return "its last \(entry.ends) instances ended before they answered (the last one: \(entry.reason)); "
            + "it is tried again in \(seconds) s"
    }

    func isPaused(_ function: UInt64, now: Moment) -> Bool { refusal(function, now: now) != nil }

    /// It was replaced or removed.
    mutating func forget(_ functions: some Sequence<UInt64>) {
        for function in functions { entries[function] = nil }
    }
}

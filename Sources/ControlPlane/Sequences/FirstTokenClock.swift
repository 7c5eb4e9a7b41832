// The time to a sequence's first token, as its client waits for it: what the router measured, what starting the router
// took, and everything else as waiting for a turn.
import Wire

struct FirstTokenClock: Sendable {
    /// When the client asked.
    let asked: Moment
    /// What starting the router took, if it had to be started.
    var router: StartCost?

    /// - Parameter parts: as the router measured them, from when it was asked.
    func whole(_ parts: FirstToken, at now: Moment) -> FirstToken {
        var whole = parts
        let start = FirstToken(total: 0, queue: 0, router ?? StartCost())
        (whole.spawn, whole.map, whole.read) = (
            parts.spawn &+ start.spawn, parts.map &+ start.map, parts.read &+ start.read
        )
        let total = UInt64(max(0, (now - asked) / .microseconds(1)))
        let known = whole.total - UInt64(whole.queue)
        whole.queue = UInt32(clamping: total > known ? total - known : 0)
        return whole
    }
}

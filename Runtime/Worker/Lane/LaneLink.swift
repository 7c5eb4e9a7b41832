// One caller at one lane. The caller's request arena and the reply arena belong to all lanes of the link and
// are unmapped when the last lane has dropped it; a lane drops its share alone, when its socket ends.
//
// A reply stays valid until the caller's next call on the same lane: then its pages may be given back.
import CLinux
import Link
import Syscall

/// The memory that a link's two sides share.
final class LinkArenas {
    /// Rows and pairs of the caller, read-only.
    let request: Mapping
    /// What is answered.
    let reply: Mapping

    init(request: Mapping, reply: Mapping) { (self.request, self.reply) = (request, reply) }

    /// The bytes of the reply arena into which lane `lane` of `lanes` answers, as the caller reckons them.
    func share(_ lane: Int, of lanes: Int) -> Range<Int> {
        let share = reply.count / lanes / 4096 * 4096
        return lane * share..<(lane + 1) * share
    }
}

/// A lane's share of a link. Used by the lane's thread alone once it is watched.
final class LaneLink {
    let socket: Descriptor
    let arenas: LinkArenas
    /// Bytes of the reply arena that are this lane's.
    let share: Range<Int>
    /// End of what was ever answered into the share.
    private var touched: Int

    /// What a call may leave behind in the reply arena.
    private static let kept = 64 << 10

    init(socket: Descriptor, arenas: LinkArenas, share: Range<Int>) {
        (self.socket, self.arenas, self.share) = (socket, arenas, share)
        touched = share.lowerBound
    }

    /// The caller has read all answers: what they touched goes back to the kernel.
    func trim() {
        // Whole pages, the last one too: nothing in it is waited for.
        arenas.reply.discard(share.lowerBound..<min(share.upperBound, (touched + 4095) / 4096 * 4096), hole: true)
        touched = share.lowerBound
    }

    /// A call will answer into `range`: what earlier, larger ones touched beyond it goes back to the kernel.
    func answering(into range: Range<Int>) {
        let end = range.upperBound
        if touched - share.lowerBound > Self.kept, end < touched {
            arenas.reply.discard(max(end, share.lowerBound + Self.kept)..<touched, hole: true)
            touched = end
        }
        touched = max(touched, end)
    }
}

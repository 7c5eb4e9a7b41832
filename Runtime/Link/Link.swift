// A link: the direct way from a caller to an instance, one seqpacket socket per lane as doorbell and arenas
// for the payload. No daemon is on it. Closing the sockets ends the lease.
public import CLinux
import Glibc
public import Syscall
public import Wire

/// The caller's end of a link.
public final class Link {
    public let grant: LinkGrant
    /// One socket per lane; a compute thread calls the lane of its own core.
    public let lanes: [Descriptor]
    /// What the callee answers into (read-only here).
    public let reply: Mapping

    init(grant: LinkGrant, lanes: [Descriptor], reply: Mapping) {
        (self.grant, self.lanes, self.reply) = (grant, lanes, reply)
    }

    /// The part of the reply arena that belongs to a lane.
    public func replyRange(lane: Int) -> Range<Int> {
        let share = reply.count / lanes.count / 4096 * 4096
        return lane * share..<(lane + 1) * share
    }
}

/// How a call of an expert ended.
public enum CallOutcome: Sendable, Equatable {
    /// `cpu`: this call's part of what the callee has computed. `load`: how long it waited for its shard.
    case answered(cpuNanoseconds: UInt64, loadNanoseconds: UInt64)
    /// The instance is leaving: acquire again and repeat, experts are stateless.
    case leaving
    /// The lane was closed: the instance is gone, or should be.
    case gone
    /// The callee's shard cannot be read.
    case unreadable
    /// The callee refused the call as malformed, or answered something else: a fault of one side.
    case refused
    /// No answer within the limit of the lane's socket.
    case silent
}

/// Calling an expert over a lane: first all calls of a core are sent, then their answers awaited, so that
/// the caller's block hands its core straight to the callee.
public enum ExpertCall {
    /// Pairs of a row and an expert that a worker takes in one call; callers cut larger work.
    public static let mostPairs = 16_384

    /// Sends the doorbell. False when the instance is gone.
    public static func send(_ call: inout locum_call, on lane: Int32) -> Bool {
        call.magic = LOCUM_CALL_MAGIC
        call.version = UInt16(LOCUM_LINK_VERSION)
        call.kind = UInt16(LOCUM_CALL_APPLY)
        return locum_send(lane, &call, MemoryLayout<locum_call>.size, nil, 0, 0) == MemoryLayout<locum_call>.size
    }

    /// Tells the lane that all its answers were read. Not answered; lost when the lane's queue is full.
    public static func trim(lane: Int32) {
        var call = locum_call()
        call.magic = LOCUM_CALL_MAGIC
        call.version = UInt16(LOCUM_LINK_VERSION)
        call.kind = UInt16(LOCUM_CALL_TRIM)
        _ = locum_send(lane, &call, MemoryLayout<locum_call>.size, nil, 0, LOCUM_MSG_DONTWAIT)
    }

    /// Waits for the answer to `call`. What the callee says is checked; the output's place was chosen by the caller.
    public static func receive(_ call: UInt64, pairs: UInt32, on lane: Int32) -> CallOutcome {
        var reply = locum_reply()
        let got = recv(lane, &reply, MemoryLayout<locum_reply>.size, 0)
        if got < 0, errno == EAGAIN { return .silent }
        guard got == MemoryLayout<locum_reply>.size else { return got <= 0 ? .gone : .refused }
        guard reply.magic == LOCUM_REPLY_MAGIC, reply.version == LOCUM_LINK_VERSION, reply.call == call else {
            return .refused
        }
        switch Int32(reply.status) {
        case LOCUM_REPLY_OK:
            return reply.pair_count == pairs
                ? .answered(cpuNanoseconds: reply.cpu_ns, loadNanoseconds: reply.load_ns) : .refused
        case LOCUM_REPLY_DRAINING: return .leaving
        case LOCUM_REPLY_UNREADABLE: return .unreadable
        default: return .refused
        }
    }
}

// One running worker, from the order to fork it until the kernel has reported its end. The worker is hostile
// by assumption: node believes it about nothing but that it is ready, and every wait for it has an end.
//
//   starting ──ready──► ready ──drain──► draining ─┐
//      │                  │                        ├─► leaving ──exited──► dead
//      └──── failed, EOF, kill, malformed ─────────┘
import CLinux
import Glibc
import ShardStore
import Syscall
import Wire

/// A worker process and the state of its life.
final class Instance {
    /// What a worker says about itself when it is ready.
    struct Announcement {
        /// Floats in a row.
        let width: UInt32
        /// Local experts; 0 for a router.
        let experts: UInt32
    }

    enum State: Equatable {
        case starting
        case ready
        case draining
        /// No longer usable, its end not yet reported.
        case leaving
        case dead
    }

    let spec: InstanceSpec
    let digest: ShardDigest
    /// The control session that ordered it; another one does not hear of it.
    let session: UInt64
    /// When it was asked for: the caller's request, or the order when control acted by itself.
    let requestedAt: UInt64
    let orderedAt: UInt64
    private(set) var state = State.starting
    /// Set once the zygote has forked it.
    private(set) var process: StartedProcess?
    private(set) var announcement: Announcement?
    private var spawnedAt: UInt64 = 0
    private var readyAt: UInt64 = 0
    /// Of reading its shard before it was ready.
    var readNanoseconds: UInt64 = 0
    /// Why it is going, if something went wrong: the first reason counts.
    private(set) var reason: String?
    /// Control ordered its end.
    private(set) var evicted = false
    var channel: PacketChannel?
    var timer: EventLoop.Timer?
    private let status: Mapping
    /// Bytes of its shard.
    let shardBytes: Int
    /// It waits for room in the memory budget; the zygote has no order yet.
    private(set) var awaitsRoom = true

    /// Offers of links not yet sent to it, and whether the last message of them is unanswered.
    var offers: [(offer: LinkOffer, descriptors: [Descriptor])] = []
    var awaitsAccepted = false
    /// Control was asked to end it for others' sake.
    var isSuperfluous = false
    /// What is wrong with its shard. Until it is gone, whoever wants it is told so instead of waiting for another one.
    var fault: NodeAgentError?
    /// What it may still tell node at once.
    var words: WordLimit
    /// Links that callers have to it.
    var links: Set<UInt64> = []
    /// Acquisitions that wait for it to be ready (or gone), with the position in their list.
    var waiters: [(acquisition: Acquisition, position: Int)] = []

    init(
        _ spec: InstanceSpec, digest: ShardDigest, shardBytes: Int, session: UInt64, requestedAt: UInt64,
        status: Mapping
    ) {
        (self.spec, self.digest, self.session, self.requestedAt) = (spec, digest, session, requestedAt)
        (self.status, self.shardBytes) = (status, shardBytes)
        words = WordLimit(perSecond: spec.runtime == .router ? 20_000 : 2000)
        orderedAt = monotonic()
    }

    var id: UInt64 { spec.instance }
    /// May still come to serve: worth waiting for.
    var isComing: Bool { state == .starting && !evicted }

    // MARK: Transitions

    /// The zygote is ordered to fork it.
    func ordered() { awaitsRoom = false }

    /// The zygote forked it. A worker that is not wanted any more is killed now that it can be.
    func spawned(_ process: StartedProcess) {
        self.process = process
        spawnedAt = monotonic()
        if state == .leaving { kill() }
    }

    func announce(_ announcement: Announcement) throws(NodeAgentError) {
        guard state == .starting, self.announcement == nil else {
            throw .badRequest("it said ready while \(state)")
        }
        self.announcement = announcement
    }

    /// Becomes ready when both the worker and the zygote have reported; true at that moment.
    func becomeReady() -> Bool {
        guard state == .starting, announcement != nil, process != nil else { return false }
        (state, readyAt) = (.ready, monotonic())
        return true
    }

    /// From the fork until it was ready, in microseconds: everything but reading its shard, and that.
    var startMicroseconds: (map: UInt32, read: UInt32) {
        // The worker may be ready before the zygote's word of it was heard.
        let whole = readyAt > spawnedAt ? readyAt - spawnedAt : 0
        let read = min(readNanoseconds, whole)
        return (UInt32(clamping: (whole - read) / 1000), UInt32(clamping: read / 1000))
    }

    /// Finishes what is under way. False when it has to be killed at once: it has nothing under way.
    func drain() -> Bool {
        evicted = true
        guard state == .ready else { return state == .draining }
        state = .draining
        channel?.send(InvokeEvent.drain.frame)
        return true
    }

    /// Ends it. Its end is reported by the zygote.
    func leave(_ reason: String?) {
        guard state != .dead else { return }
        if self.reason == nil { self.reason = reason }
        state = .leaving
        channel?.close()
        kill()
    }

    func die() {
        state = .dead
        channel?.close()
        channel = nil
        (offers, awaitsAccepted) = ([], false)
    }

    private func kill() {
        if let process { _ = locum_pidfd_signal(process.pidfd.raw, SIGKILL) }
    }

    // MARK: The status page, which the worker may have filled with anything

    var statusPage: UnsafeMutablePointer<locum_status_page> {
        status.base.assumingMemoryBound(to: locum_status_page.self)
    }
    var page: locum_status_page { locum_status_read(statusPage) }
    /// Calls or sequences are under way.
    var isActive: Bool { locum_status_active(statusPage) > 0 }
    /// It has a call, or is about to read its shard.
    var usesShard: Bool { isActive || [LOCUM_SHARD_GRANTED, LOCUM_SHARD_LOADING].contains(shardState) }
    /// It can do nothing before its shard is in memory: it has a call, or is a router, which does not begin without.
    var waitsForShard: Bool { shardState == LOCUM_SHARD_ABSENT && (isActive || spec.runtime == .router) }
    /// LOCUM_SHARD_…
    var shardState: UInt32 { locum_shard_state(statusPage) }
    /// True when the state was `from`.
    func moveShard(from: UInt32, to: UInt32) -> Bool { locum_shard_move(statusPage, from, to) }

    /// Since it last answered or became ready; 0 before that, and whatever else the page may say.
    func idleNanoseconds(at now: UInt64) -> UInt64 { announcement == nil ? 0 : now - min(page.last_active_ns, now) }

    /// A count beyond this is a lie; sums of many such stay below what others add up without a thought.
    private static let mostCounted: UInt64 = 1 << 40

    /// What the status page says; nothing here can overflow, nor can sums of it elsewhere.
    func usage(at now: UInt64) -> InstanceUsage {
        let page = page
        let first = page.first_answer_ns
        let cold = first > requestedAt && first <= now ? max(1, (first - requestedAt) / 1000) : 0
        return InstanceUsage(
            instance: id, invocations: min(page.invocations, Self.mostCounted),
            rows: min(page.rows, Self.mostCounted),
            idleMilliseconds: idleNanoseconds(at: now) / 1_000_000,
            active: UInt32(clamping: page.active), coldStartMicroseconds: UInt32(clamping: cold))
    }
}

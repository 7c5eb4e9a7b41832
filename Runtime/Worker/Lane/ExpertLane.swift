// One lane of an expert function: a thread on its own core with an epoll set of its own, which hears every
// caller's socket for this lane. A caller's compute thread on the same core blocks after its doorbell, so the
// core goes from caller to callee and back in place. Nothing here allocates once a link is served.
//
// Links are made on lane 0's thread: it watches the new socket in this lane's set, with the `LaneLink` itself
// (retained) as token; from then on this lane alone touches it, and releases it at end of file.
import CLinux
import Glibc
import Syscall

/// What the lanes of an instance have in common.
final class LaneControl {
    let status: StatusPage
    let residency: ShardResidency
    /// Calls being computed, over all lanes.
    let active = FutexWord()
    /// 1: take no more calls.
    let draining = FutexWord()
    /// CPU time that replies have told of.
    private let told: UnsafeMutablePointer<UInt64>

    init(status: StatusPage, residency: ShardResidency) {
        (self.status, self.residency) = (status, residency)
        told = .allocate(capacity: 1)
        told.initialize(to: 0)
    }

    deinit { told.deallocate() }

    /// What the process has computed and nobody was told of, in nanoseconds of CPU time.
    func untold() -> UInt64 { locum_untold_cpu_ns(told) }
}

/// A lane's loop.
final class ExpertLane {
    private let control: LaneControl
    private let epoll: Epoll
    private let batch: ExpertBatch
    private let width: Int
    private let events: UnsafeMutablePointer<locum_event>
    private let calls: UnsafeMutablePointer<Waiting>
    /// How long this lane has been busy since it last asked for the CPU time, in nanoseconds. Asking costs as much as a small
    /// call; so a call that comes when enough has gathered tells of all of it, and each pays in the end what it costs on
    /// average. The first tells of the start.
    private var busy = UInt64.max / 2
    private static let worthAsking: UInt64 = 100_000
    /// What a call costs beside what it computes, about: waking, hearing, answering.
    private static let perCall: UInt64 = 10_000

    /// A call that is taken on and not yet answered. The link outlives it: only this thread releases links.
    private struct Waiting {
        let link: Unmanaged<LaneLink>
        let number: UInt64
        let pairs: UInt32
    }

    /// Token of the channel to node, in lane 0's set.
    static let channelToken: UInt64 = 0

    init(_ model: ExpertModel, control: LaneControl) throws(SyscallError) {
        self.control = control
        width = model.width
        epoll = try Epoll()
        batch = try ExpertBatch(model)
        events = .allocate(capacity: ExpertBatch.mostCalls)
        calls = .allocate(capacity: ExpertBatch.mostCalls)
    }

    deinit {
        events.deallocate()
        calls.deallocate()
    }

    /// Hears a caller from now on. Called on lane 0's thread.
    func serve(_ link: LaneLink) throws(SyscallError) {
        let retained = Unmanaged.passRetained(link)
        do throws(SyscallError) {
            try epoll.add(link.socket.raw, token: UInt64(UInt(bitPattern: retained.toOpaque())))
        } catch {
            retained.release()
            throw error
        }
    }

    /// Lane 0 hears node too.
    func watch(channel: Int32) throws(SyscallError) { try epoll.add(channel, token: Self.channelToken) }

    /// Waits for calls and answers them, until `channel` (given to lane 0) says that it is enough.
    func run(channel: (() -> Bool)? = nil) {
        while true {
            let ready = locum_epoll_wait(epoll.descriptor.raw, events, Int32(ExpertBatch.mostCalls), -1)
            if ready < 0 { return }
            var node = false
            var taken = 0
            for index in 0..<Int(ready) {
                let token = events[index].token
                if token == Self.channelToken {
                    node = true
                } else if let raw = UnsafeRawPointer(bitPattern: UInt(token)), batch.hasRoom {
                    taken += receive(Unmanaged<LaneLink>.fromOpaque(raw), at: taken)
                }
            }
            if taken > 0 { answer(taken) }
            // Last, so that draining waits for no call of this lane.
            if node, let channel, !channel() { return }
        }
    }

    /// Takes one call of a link on; answers at once if it is refused, drops the link at its end.
    /// - Returns: how many calls were taken on.
    private func receive(_ reference: Unmanaged<LaneLink>, at place: Int) -> Int {
        let link = reference._withUnsafeGuaranteedRef { $0 }
        var bell = locum_call()
        let size = MemoryLayout<locum_call>.size
        let got = recv(link.socket.raw, &bell, size, LOCUM_MSG_DONTWAIT | Int32(MSG_TRUNC))
        if got <= 0 {
            if got < 0, errno == EAGAIN || errno == EINTR { return 0 }
            drop(reference)
            return 0
        }
        if got == size, bell.magic == LOCUM_CALL_MAGIC, bell.kind == UInt16(LOCUM_CALL_TRIM) {
            link.trim()
            return 0
        }
        control.active.add(1)
        control.status.begin()
        // After `active` is raised: whoever sets `draining` first waits for this call.
        let draining = control.draining.value == 1
        if !draining, got == size, let call = LaneCall(bell, link, width: width), batch.add(call) {
            link.answering(into: call.outputRange)
            (calls + place).initialize(
                to: Waiting(link: reference, number: call.number, pairs: UInt32(call.pairs)))
            return 1
        }
        let status = draining ? LOCUM_REPLY_DRAINING : LOCUM_REPLY_BAD_CALL
        reply(link, status, bell.call, pairs: 0)
        return 0
    }

    private func answer(_ taken: Int) {
        // All of them are counted as active by now, so the pages stay until they are answered.
        let begun = locum_monotonic_ns()
        let load = control.residency.enter(at: begun)
        let readable = load != nil
        let pairs = UInt64(batch.pairs)
        if readable { batch.compute() } else { batch.forget() }
        busy += locum_monotonic_ns() - begun + Self.perCall * UInt64(taken)
        var cpu: UInt64 = 0
        if busy >= Self.worthAsking { (cpu, busy) = (control.untold(), 0) }
        for index in 0..<taken {
            let call = calls[index]
            call.link._withUnsafeGuaranteedRef {
                reply(
                    $0, readable ? LOCUM_REPLY_OK : LOCUM_REPLY_UNREADABLE, call.number,
                    pairs: readable ? call.pairs : 0, cpu: cpu * UInt64(call.pairs) / pairs, load: load ?? 0)
            }
        }
    }

    private func reply(
        _ link: LaneLink, _ status: Int32, _ number: UInt64, pairs: UInt32, cpu: UInt64 = 0, load: UInt64 = 0
    ) {
        // Counted before the caller hears of it, so that whoever looks after an answer sees it counted.
        control.status.end(rows: Int(pairs))
        control.active.subtract(1)
        var reply = locum_reply(
            magic: LOCUM_REPLY_MAGIC, version: UInt16(LOCUM_LINK_VERSION), status: UInt16(status), call: number,
            pair_count: pairs, reserved: 0, cpu_ns: cpu, load_ns: load)
        // A caller that does not read its answers loses them; its end of file comes through the same socket.
        _ = locum_send(link.socket.raw, &reply, MemoryLayout<locum_reply>.size, nil, 0, LOCUM_MSG_DONTWAIT)
    }

    private func drop(_ reference: Unmanaged<LaneLink>) {
        reference._withUnsafeGuaranteedRef { epoll.remove($0.socket.raw) }
        reference.release()
    }
}

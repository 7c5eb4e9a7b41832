// Callers come (links from node), ask, cancel and go. A caller that breaks the protocol is cut off; its
// sequences end and their memory is free at once, others do not notice.
import CLinux
import Link
import Shard
import Syscall
import Wire

extension RouterServer {
    /// What node has sent, also while experts were acquired: links of callers, room for sequences.
    func hearDeferred() {
        for packet in connection.takeDeferred() {
            switch try? InvokeEvent(frame: packet.bytes) {
            case .accept(let offers): adopt(offers, packet.descriptors)
            case .reserved(let request): begin(request)
            case .failed(let request, let code, let message):
                guard let waiting = waiting.removeValue(forKey: request), let caller = callers[waiting.key.caller]
                else {
                    continue
                }
                refuse(caller, waiting.key.number, RouterFailure(code, message))
            default: continue
            }
        }
    }

    private func adopt(_ offers: [LinkOffer], _ descriptors: [Descriptor]) {
        var rest = descriptors[...]
        for offer in offers {
            // Per link: its lanes, then the two arenas, which a router does not need.
            let own = rest.prefix(Int(offer.lanes) + 2)
            rest = rest.dropFirst(own.count)
            guard offer.lanes > 0, own.count == Int(offer.lanes) + 2, let lane = own.first else { continue }
            adopt(lane)
        }
        // Fails only when node is gone, which the next turn hears.
        try? Seqpacket.send(connection.socket.raw, InvokeRequest.accepted.frame)
    }

    private func adopt(_ lane: Descriptor) {
        let caller = Caller(key: nextCaller, socket: lane, context: config.context)
        // A caller that cannot be watched is dropped, and sees the end of its link.
        guard (try? epoll.add(lane.raw, token: caller.key)) != nil else { return }
        callers[caller.key] = caller
        nextCaller += 1
    }

    func hear(_ caller: Caller, _ ready: Epoll.Interest) {
        if ready.contains(.writable) { flush(caller) }
        guard !ready.isDisjoint(with: [.readable, .hungUp, .failed]), callers[caller.key] != nil else { return }
        caller.receive()
        obey(caller)
    }

    /// Does what a caller has said.
    func obey(_ caller: Caller) {
        while callers[caller.key] != nil, !caller.heard.isEmpty {
            if !take(caller.heard.removeFirst(), from: caller) { remove(caller) }
        }
    }

    /// Takes on the sequences that a caller has asked for before anything else; the rest waits for the end of the step.
    func obeyNew(_ caller: Caller) {
        while let next = caller.heard.first, next.isNewSequence {
            caller.heard.removeFirst()
            if !take(next, from: caller) { caller.heard = [.end] }
        }
    }

    /// False when the caller is to be cut off.
    private func take(_ arrival: Caller.Arrival, from caller: Caller) -> Bool {
        // It asks on and on without reading the answers.
        if caller.outbox.isOverrun { return false }
        switch arrival {
        case .end: return false
        case .tooLong(let number): refuse(caller, number, tooLong(caller))
        case .command(.watch, let number): caller.watch = number
        case .command(.cancel, let number) where caller.watch == number: caller.watch = nil
        case .command(.cancel, let number): end(SequenceKey(caller: caller.key, number: number))
        case .command(.generate(let spec), let number):
            let key = SequenceKey(caller: caller.key, number: number)
            let isUnderWay =
                sequences.contains { $0.key == key } || held.contains { $0.key == key }
                || waiting.values.contains { $0.key == key }
            if isUnderWay { return false }
            take(spec, key, from: caller)
        }
        return true
    }

    private func tooLong(_ caller: Caller) -> RouterFailure {
        RouterFailure(
            "context_length_exceeded", parameter: "prompt",
            "the request is too long to be read; this model's context holds \(config.context) tokens")
    }

    private func take(_ spec: GenerateSpec, _ key: SequenceKey, from caller: Caller) {
        do throws(RouterFailure) {
            if connection.draining {
                throw RouterFailure("draining", "this router is being stopped; acquire it again")
            }
            guard sequences.count + waiting.count + held.count < mostSequences else {
                throw RouterFailure("busy", "this router has \(mostSequences) sequences under way; try again later")
            }
            let request = try SequenceRequest(spec, prompts: prompts, config: config)
            let bytes = model.cacheBytes(capacity: request.prompt.count + request.limit)
            let most = spec.ownerBytes == 0 ? Int.max : Int(clamping: spec.ownerBytes)
            guard bytes <= most else {
                throw RouterFailure(
                    "context_length_exceeded", parameter: "max_tokens",
                    "\(request.prompt.count) tokens of prompt and \(request.limit) of output take \(bytes) bytes of keys and "
                        + "values, and you may have \(most); ask for fewer")
            }
            nextNumber += 1
            held.append(
                WaitingSequence(
                    key: key, request: request, number: nextNumber, bytes: bytes, most: most,
                    arrived: locum_monotonic_ns()))
            admitHeld()
        } catch {
            refuse(caller, key.number, error)
        }
    }

    /// Asks node for room for those whose owners may have it, each owner's in order.
    private func admitHeld() {
        while let next = held.firstIndex(where: { isFirstHeld($0) && mayHave($0) }) {
            let sequence = held.remove(at: next)
            if sequence.bytes == 0 { start(sequence) } else { waiting[connection.reserve(sequence.bytes)] = sequence }
        }
    }

    private func isFirstHeld(_ sequence: WaitingSequence) -> Bool {
        held.first { $0.request.owner == sequence.request.owner }?.number == sequence.number
    }

    /// Whether its owner's limit leaves room for it, if need be without what is kept of its prompts.
    private func mayHave(_ sequence: WaitingSequence) -> Bool {
        let owner = sequence.request.owner
        let used =
            sequences.reduce(0) { $0 + ($1.owner == owner ? $1.reserved : 0) }
            + waiting.values.reduce(0) { $0 + ($1.request.owner == owner ? $1.bytes : 0) }
        guard sequence.bytes <= sequence.most - used else { return false }
        let excess = kept.bytes(of: owner) - (sequence.most - used - sequence.bytes)
        if excess > 0 { giveBack(excess, of: owner) }
        return true
    }

    /// Node has reserved room for a sequence; its caller may have left meanwhile.
    private func begin(_ request: UInt32) {
        if let sequence = waiting.removeValue(forKey: request) { start(sequence) }
    }

    private func start(_ ready: WaitingSequence) {
        guard let caller = callers[ready.key.caller], !ready.isCancelled else {
            return connection.unreserve(ready.bytes)
        }
        do throws(RouterFailure) {
            let cache = try model.makeCache(capacity: ready.request.prompt.count + ready.request.limit)
            let sequence = Sequence(
                key: ready.key, request: ready.request, cache: cache, cached: reuse(ready.request, in: cache),
                number: ready.number, reserved: ready.bytes,
                clock: SequenceClock(arrived: ready.arrived, begun: locum_monotonic_ns(), waited: model.waited),
                bytes: textBytes)
            meter.begin()
            sequences.append(sequence)
            sequence.begin { caller.outbox.add($0, sequence: ready.key.number) }
            removeEnded()
        } catch {
            connection.unreserve(ready.bytes)
            refuse(caller, ready.key.number, error)
        }
    }

    private func refuse(_ caller: Caller, _ number: UInt64, _ failure: RouterFailure) {
        caller.outbox.add(failure.event, sequence: number)
    }

    /// Ends a sequence, whose caller hears only what it has cost; a number that is not under way has ended by itself meanwhile.
    private func end(_ key: SequenceKey) {
        let cost = sequences.first { $0.key == key }?.cost ?? SequenceCost()
        callers[key.caller]?.outbox.drop(key.number)
        callers[key.caller]?.outbox.add(.used(cost, last: true), sequence: key.number)
        held.removeAll { $0.key == key }
        for (request, waiting) in waiting where waiting.key == key { self.waiting[request]?.isCancelled = true }
        remove { $0.key == key }
    }

    /// Sends what the caller takes, and asks to be told when it takes more.
    func flush(_ caller: Caller) {
        do throws(SyscallError) {
            try caller.outbox.flush(to: caller.socket.raw)
            let waits = !caller.outbox.isEmpty
            guard waits != caller.watchesWritable else { return }
            try epoll.modify(caller.socket.raw, token: caller.key, waits ? [.readable, .writable] : .readable)
            caller.watchesWritable = waits
        } catch {
            remove(caller)
        }
    }

    private func remove(_ caller: Caller) {
        epoll.remove(caller.socket.raw)
        callers[caller.key] = nil
        held.removeAll { $0.key.caller == caller.key }
        remove { $0.key.caller == caller.key }
    }

    func removeEnded() { remove(where: \.hasEnded) }

    /// With the last reference to a sequence goes its cache.
    /// - Parameter keeping: what they have computed may serve others.
    func remove(keeping: Bool = true, where condition: (Sequence) -> Bool) {
        var freed = 0
        for sequence in sequences where condition(sequence) {
            meter.end(rows: sequence.length)
            freed += sequence.reserved - (keeping ? keep(sequence) : 0)
        }
        let before = sequences.count
        sequences.removeAll(where: condition)
        if freed > 0 { connection.unreserve(freed) }
        if before > sequences.count {
            tellKept()
            admitHeld()
        }
        guard sequences.isEmpty, before > 0 else { return }
        // An idle router keeps no scratch of the size of a vocabulary.
        model.trim()
        sampler = Sampler()
    }
}

/// A checked request that waits for room.
struct WaitingSequence {
    let key: SequenceKey
    let request: SequenceRequest
    /// Unique within the router's life.
    let number: UInt64
    /// Of keys and values, once all its positions are computed.
    let bytes: Int
    /// Of its owner's, in all.
    let most: Int
    /// When it was asked for.
    let arrived: UInt64
    var isCancelled = false
}

// Making links: per lane a socket pair, a reply arena, and once per caller a request arena. Node hands the
// ends to both sides and keeps none of them, so a side's death is what closes a link, not node's.
//
// Flow control is on both sides: one message of links (at most 64, at most 253 descriptors) is on its way to
// a caller, one of offers to a worker; the next follows the acknowledgement. Neither side waits for the
// other: a call sent before its callee has taken the offer waits in the lane's socket.
import Link
import Syscall
import Wire

extension Broker {
    private static let mostLinksPerMessage = 64
    /// Functions that a line of the log names.
    private static let mostNamed = 8

    /// Flushes once for all that becomes ready in this turn.
    func flushSoon(_ caller: Caller) {
        loop.soon { [weak self, weak caller] in if let caller { self?.flush(caller) } }
    }

    /// Sends the caller what of its oldest request is ready, unless it has not taken the last yet.
    func flush(_ caller: Caller) {
        guard !caller.isGone, caller.awaitsTaken == nil else { return }
        guard let acquisition = caller.acquisitions.first(where: { $0.hasLinkable || $0.unlinked == 0 }) else { return }
        var grants: [LinkGrant] = []
        var descriptors: [Descriptor] = []
        var arena: UInt64 = 0
        do throws(SyscallError) {
            while grants.count < Self.mostLinksPerMessage,
                // The arena and the lanes of one more link of any size must fit.
                descriptors.count + 1 + 64 + 1 <= Seqpacket.mostDescriptors,
                let (position, instance) = acquisition.takeLinkable()
            {
                let requests = try caller.requestArena()
                if let writable = requests.firstTime {
                    descriptors.append(writable)
                    arena = UInt64(Arena.requestBytes)
                }
                var made = try link(caller, instance, requests.readable, position: position)
                if acquisition.isWarm(position) {
                    warm += 1
                } else {
                    let start = instance.startMicroseconds
                    (made.grant.mapMicroseconds, made.grant.readMicroseconds) = (start.map, start.read)
                }
                grants.append(made.grant)
                descriptors += made.descriptors
            }
        } catch {
            // Links already in hand are dropped with their sockets: the callee sees them close.
            for grant in grants { forget(grant.link) }
            if arena > 0 { caller.forgetArena() }
            flushSoon(caller)
            return fail(acquisition, NodeAgentError(code: "exhausted", message: "no link could be made: \(error)"))
        }
        let last = acquisition.unlinked == 0
        if !grants.isEmpty || last {
            caller.send(
                .links(request: acquisition.request, requestArena: arena, grants, last: last), descriptors)
            caller.awaitsTaken = acquisition.request
        }
        if last {
            tellStarted(acquisition)
            close(acquisition)
        } else if !acquisition.wanted.isEmpty {
            // An instance left between being ready and being linked.
            loop.soon { [weak self] in self?.advance(acquisition) }
        }
        // Nothing was sent, so no acknowledgement will bring the caller's other requests on.
        if caller.awaitsTaken == nil, caller.acquisitions.contains(where: \.hasLinkable) { flushSoon(caller) }
    }

    private func tellStarted(_ acquisition: Acquisition) {
        let started = acquisition.started
        guard !started.isEmpty else { return }
        let more = started.count > Self.mostNamed ? " and \(started.count - Self.mostNamed) more" : ""
        tell(
            acquisition,
            "started \(started.prefix(Self.mostNamed).joined(separator: ", "))\(more); ready after "
                + "\(Double((monotonic() - acquisition.arrived) / 10_000) / 100) ms")
    }

    private func link(
        _ caller: Caller, _ instance: Instance, _ requests: Descriptor, position: Int
    ) throws(SyscallError) -> (grant: LinkGrant, descriptors: [Descriptor]) {
        var (callersEnds, calleesEnds): ([Descriptor], [Descriptor]) = ([], [])
        for _ in 0..<instance.spec.lanes {
            let (callers, callees) = try Seqpacket.pair()
            callersEnds.append(callers)
            calleesEnds.append(callees)
        }
        let reply = try SharedMemory(name: "locum-reply", count: Arena.replyBytes)
        let link = id()
        links[link] = (caller, instance)
        if isTenant(caller) { reached[caller.identity.uid, default: []].insert(instance.id) }
        caller.links.insert(link)
        instance.links.insert(link)
        let offer = LinkOffer(
            link: link, lanes: instance.spec.lanes, requestArena: UInt64(Arena.requestBytes),
            replyArena: UInt64(reply.count))
        instance.offers.append((offer, calleesEnds + [requests, reply.writable]))
        // All links of this turn go to the worker together.
        if instance.offers.count == 1 { loop.soon { [weak self] in self?.sendOffers(to: instance) } }
        let grant = LinkGrant(
            link: link, position: UInt32(position), instance: instance.id, runtime: instance.spec.runtime,
            lanes: instance.spec.lanes, replyArena: UInt64(reply.count), width: instance.announcement?.width ?? 0,
            experts: instance.announcement?.experts ?? 0)
        return (grant, callersEnds + [reply.readable])
    }

    /// Sends a worker its next callers, unless it has not accepted the last yet.
    func sendOffers(to instance: Instance) {
        guard instance.state == .ready || instance.state == .draining, !instance.awaitsAccepted else { return }
        var (offers, descriptors): ([LinkOffer], [Descriptor]) = ([], [])
        for (offer, owned) in instance.offers.prefix(Self.mostLinksPerMessage) {
            guard descriptors.count + owned.count <= Seqpacket.mostDescriptors else { break }
            offers.append(offer)
            descriptors += owned
        }
        guard !offers.isEmpty else { return }
        instance.offers.removeFirst(offers.count)
        instance.awaitsAccepted = true
        instance.channel?.send(InvokeEvent.accept(offers).frame, descriptors)
    }

    /// Node knows nothing of this link any more.
    func forget(_ link: UInt64) {
        guard let (caller, instance) = links.removeValue(forKey: link) else { return }
        caller.links.remove(link)
        instance.links.remove(link)
        // An offer that was not sent yet closes its sockets here.
        instance.offers.removeAll { $0.offer.link == link }
    }
}

// invoke.sock: who connects and what they may say. Whatever a connection sends, the worst it gets is a
// reason and a closed socket; nobody else notices.
import Glibc
import Syscall
import Wire

extension Node {
    private static let mostCallers = 1024

    func callerConnected(_ socket: Descriptor, _ peer: Peer) {
        guard mayInvoke(socket, peer) else {
            return refuse(
                socket,
                NodeAgentError(
                    code: "denied",
                    message: "user \(peer.uid) may not invoke functions here; the user who runs Locum, root, and for a "
                        + "service members of its group may"))
        }
        guard !broker.users.contains(peer.uid) || broker.hasRoom(for: peer.uid) else {
            return refuse(
                socket,
                NodeAgentError(code: "exhausted", message: "you have as many connections already as you may have"))
        }
        guard broker.callers.count < Self.mostCallers else {
            return refuse(
                socket, NodeAgentError(code: "exhausted", message: "\(Self.mostCallers) callers are connected already"))
        }
        do throws(SyscallError) {
            // The caller is made after its channel and known to the handlers through this box; weakly, since it
            // owns the channel and the channel these handlers. The broker holds it until it is gone.
            final class Box { weak var caller: Caller? }
            let box = Box()
            let channel = try PacketChannel(
                loop, socket,
                onPacket: { [unowned self] packet in if let caller = box.caller { receive(packet, from: caller) } },
                onEnd: { [unowned self] end in if let caller = box.caller { lost(caller, end) } })
            box.caller = broker.connected(peer, channel)
        } catch {
            refuse(socket, NodeAgentError(code: "exhausted", message: "\(error)"))
        }
    }

    private func refuse(_ socket: Descriptor, _ error: NodeAgentError) {
        let event = InvokeEvent.failed(request: 0, code: error.code, message: error.message)
        try? Seqpacket.send(socket.raw, event.frame, wait: false)
        // Read what it sent already, else it would see a reset instead of the reason.
        _ = try? Seqpacket.receive(socket.raw, wait: false)
    }

    private func receive(_ packet: Packet, from caller: Caller) {
        do {
            let request = try InvokeRequest(frame: packet.bytes)
            if case .deploy(let options, let files, let more) = request {
                try deployments.request(caller, options, files, packet.descriptors, more: more)
            } else {
                guard packet.descriptors.isEmpty else {
                    throw NodeAgentError.badRequest("descriptors came with a request that has none")
                }
                try broker.handle(request, from: caller)
            }
        } catch let error as NodeAgentError {
            end(caller, error)
        } catch {
            end(caller, .badRequest("\(error)"))
        }
    }

    /// Control has said which users tenants are, and of whom it has changed what they may do.
    func setUsers(_ users: [UInt32], changed: [UInt32]) {
        let before = broker.users
        broker.users = Set(users)
        if before.isEmpty != users.isEmpty { openInvokeSocket(toAll: !users.isEmpty) }
        for user in broker.users.symmetricDifference(before).union(changed) {
            var linked = broker.reached.removeValue(forKey: user) ?? []
            for caller in broker.callers.values where caller.identity.uid == user {
                linked.formUnion(caller.links.compactMap { broker.links[$0]?.instance.id })
                end(caller, NodeAgentError(code: "denied", message: "what you may use was changed; connect again"))
            }
            // The user's ends of links stay open as long as it likes: so theirs are closed.
            instances.evict(Array(linked), grace: 0)
        }
    }

    /// The kernel lets in those whom the socket's mode lets in, node those whom it knows. So the mode is wide only as long as
    /// tenants have users.
    private func openInvokeSocket(toAll: Bool) {
        let path = folder.invokeSocket
        guard chmod(path, toAll ? 0o666 : options.group == nil ? 0o600 : 0o660) < 0 else { return }
        log("\(SyscallError(stage: "set the mode of \(path)")); users of tenants cannot reach it as it is")
    }

    private func lost(_ caller: Caller, _ end: PacketChannel.End) {
        switch end {
        case .malformed(let what): self.end(caller, .badRequest(what))
        case .closed, .congested: forget(caller)
        }
    }

    /// Says why, and closes.
    private func end(_ caller: Caller, _ error: NodeAgentError) {
        caller.send(.failed(request: 0, code: error.code, message: error.message))
        forget(caller)
    }

    private func forget(_ caller: Caller) {
        caller.channel.close()
        deployments.callerGone(caller)
        broker.disconnected(caller)
    }

    /// A router's request. A router that asks for what it may not have is not a router any more.
    func routerRequest(_ request: InvokeRequest, from router: Instance) {
        do throws(NodeAgentError) {
            switch request {
            case .reserve(let request, let bytes): reserve(request, Int(clamping: bytes), for: router)
            case .unreserve(let bytes): memory.unreserve(sequence: Int(clamping: bytes), of: router)
            case .spare(let bytes): memory.spare(Int(clamping: bytes), of: router)
            case .prefetch(let callees): try prefetch(callees, for: router)
            default: try broker.handle(request, from: router)
            }
        } catch {
            instances.end(router, "its request was refused: \(error)")
        }
    }

    private func reserve(_ request: UInt32, _ bytes: Int, for router: Instance) {
        do throws(NodeAgentError) {
            try memory.reserve(sequence: bytes, of: router) { [weak router] in
                router?.channel?.send(InvokeEvent.reserved(request: request).frame)
            }
        } catch {
            router.channel?.send(InvokeEvent.failed(request: request, code: error.code, message: error.message).frame)
        }
    }

    /// Callees that are heeded of a guess; there is seldom time to read more.
    private static let mostExpected = 256

    /// Only functions that have a process are read ahead: starting one for a guess would cost more than it saves.
    private func prefetch(_ callees: [UInt32], for router: Instance) throws(NodeAgentError) {
        // A useless predictor is played by guessing the function half a layer further on.
        let shift = memory.prediction == .shuffled ? router.spec.callees.count / 2 : 0
        var likely: [Instance] = []
        for callee in callees.prefix(Self.mostExpected) {
            guard Int(callee) < router.spec.callees.count else {
                throw .badRequest("it expects callee \(callee) and has \(router.spec.callees.count)")
            }
            let function = router.spec.callees[(Int(callee) + shift) % router.spec.callees.count]
            if let instance = instances.candidate(function), instance.state == .ready { likely.append(instance) }
        }
        memory.predicted(likely, by: router)
    }
}

// Brings callers and instances together. What is warm is linked at once; for the rest control is asked, and
// each function is linked the moment its instance is ready. The broker decides nothing: it holds requests
// open while others decide, and closes them with a reason when nobody can.
//
//   Broker.swift          callers come and go, their requests
//   Broker+Acquire.swift  finding an instance for each position, asking control
//   Broker+Links.swift    making links and handing them over
import Link
import Syscall
import Wire

/// Callers, their acquisitions and links.
final class Broker {
    /// How long a request waits for a control session.
    static let patience = UInt64.seconds(5)

    let loop: EventLoop
    let instances: InstanceTable
    var callers: [UInt64: Caller] = [:]
    /// Routers by instance id.
    var routers: [UInt64: Caller] = [:]
    /// Open questions to control.
    var questions: [UInt32: Acquisition] = [:]
    var links: [UInt64: (caller: Caller, instance: Instance)] = [:]
    /// Since when somebody waits for a function that has no instance: where its cold start begins.
    var wantedSince: [Acquisition.Target: UInt64] = [:]
    /// Why the last instance of a function could not be started at all.
    var failures: [UInt64: NodeAgentError] = [:]
    /// Functions linked without asking control, since its session began.
    var warm: UInt64 = 0
    /// Users whose connections control decides about, request by request.
    var users: Set<UInt32> = []
    /// Instances that such a user was linked to: it may keep its ends of a link when it says that it has let go.
    var reached: [UInt32: Set<UInt64>] = [:]
    /// Callers that wait for a model to be removed, by the number that control was asked with.
    var removals: [UInt32: (caller: Caller, request: UInt32)] = [:]
    /// Asks control; false when there is no session.
    var ask: (NodeEvent) -> Bool = { _ in false }
    /// For the log: what was started or refused, and for which HTTP requests.
    var log: (String, [RequestID]) -> Void = { _, _ in }
    /// Whoever asks again and again for what it does not get does not fill the log.
    private var lines = WordLimit(perSecond: 100)
    private var nextNumber: UInt32 = 1
    private var nextID: UInt64 = 1

    init(_ loop: EventLoop, _ instances: InstanceTable) {
        (self.loop, self.instances) = (loop, instances)
    }

    func number() -> UInt32 {
        defer { nextNumber &+= 1 }
        return nextNumber
    }

    func id() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }

    // MARK: Callers

    /// A new connection to invoke.sock.
    func connected(_ peer: Peer, _ channel: PacketChannel) -> Caller {
        let caller = Caller(id: id(), origin: .connection(peer), channel: channel)
        callers[caller.id] = caller
        return caller
    }

    /// A caller is gone: its requests end, its links are forgotten (their instances see the sockets close).
    func disconnected(_ caller: Caller) {
        guard !caller.isGone else { return }
        caller.isGone = true
        callers[caller.id] = nil
        if case .router(let instance) = caller.origin { routers[instance.id] = nil }
        for acquisition in caller.acquisitions { close(acquisition) }
        for link in caller.links { forget(link) }
        removals = removals.filter { $0.value.caller !== caller }
    }

    /// Whether it is a tenant's, who may have what control grants it and nothing else.
    func isTenant(_ caller: Caller) -> Bool {
        if case .connection(let peer) = caller.origin { users.contains(peer.uid) } else { false }
    }

    /// Connections that a user may have at once, so that there is room for others.
    private static let mostOfOneUser = 64

    /// Whether a user who is a tenant has room for one more connection.
    func hasRoom(for user: UInt32) -> Bool {
        callers.values.count { $0.identity.uid == user } < Self.mostOfOneUser
    }

    private func remove(_ caller: Caller, _ request: UInt32, _ model: String) {
        let number = number()
        guard ask(.removing(request: number, peer: caller.identity.uid, model: model)) else {
            return caller.send(
                .failed(
                    request: request, code: "unavailable",
                    message: "locum-control is not there, so nothing was removed; try again in a moment"))
        }
        removals[number] = (caller, request)
    }

    /// Control has removed a model.
    func removed(_ number: UInt32) {
        guard let (caller, request) = removals.removeValue(forKey: number) else { return }
        caller.send(.removed(request: request))
    }

    /// A request of a connection.
    func handle(_ request: InvokeRequest, from caller: Caller) throws(NodeAgentError) {
        switch request {
        case .acquireNamed(let request, let names, let behalf):
            try acquire(caller, request, names.map { .name($0) }, behalf)
        case .remove(let request, let model): remove(caller, request, model)
        default: try handleCommon(request, from: caller)
        }
    }

    /// A request of a router, which may name its own callees only.
    func handle(_ request: InvokeRequest, from router: Instance) throws(NodeAgentError) {
        guard let channel = router.channel, router.announcement != nil, router.state != .leaving else {
            throw .badRequest("it made a request before it was ready")
        }
        let caller = routers[router.id] ?? Caller(id: id(), origin: .router(router), channel: channel)
        routers[router.id] = caller
        guard case .acquire(let request, let callees, let behalf) = request else {
            return try handleCommon(request, from: caller)
        }
        var targets: [Acquisition.Target] = []
        targets.reserveCapacity(callees.count)
        for callee in callees {
            guard Int(callee) < router.spec.callees.count else {
                throw .badRequest("it asked for callee \(callee) and has \(router.spec.callees.count)")
            }
            targets.append(.function(router.spec.callees[Int(callee)]))
        }
        try acquire(caller, request, targets, behalf)
    }

    private func handleCommon(_ request: InvokeRequest, from caller: Caller) throws(NodeAgentError) {
        switch request {
        case .taken(let request):
            guard caller.awaitsTaken == request else { throw .badRequest("it took links that nobody sent") }
            caller.awaitsTaken = nil
            flush(caller)
        case .released(let links, let faulty):
            // A link that was revoked meanwhile is not there any more.
            for link in links where caller.links.contains(link) {
                let instance = self.links[link]?.instance
                forget(link)
                // Functions keep nothing between calls, so whoever complains wrongly costs others a start, no result.
                if faulty { instances.end(instance, "a caller had a wrong answer from it, or none") }
            }
        default: throw .badRequest("it made a request that it may not make")
        }
    }

    private func acquire(
        _ caller: Caller, _ request: UInt32, _ targets: [Acquisition.Target], _ behalf: [RequestID]
    ) throws(NodeAgentError) {
        guard caller.acquisitions.count < Caller.mostAcquisitions else {
            throw .badRequest("more than \(Caller.mostAcquisitions) requests at once")
        }
        let acquisition = Acquisition(caller: caller, request: request, targets: targets, behalf: behalf)
        guard caller.links.count + targets.count <= Caller.mostLinks else {
            return caller.send(
                .failed(
                    request: request, code: "exhausted",
                    message: "a caller holds at most \(Caller.mostLinks) links; release some first"))
        }
        caller.acquisitions.append(acquisition)
        advance(acquisition)
    }

    /// Ends a request without a word.
    func close(_ acquisition: Acquisition) {
        if let number = acquisition.question?.number {
            questions[number] = nil
            forgetTimes(acquisition)
        }
        loop.cancel(acquisition.patience)
        acquisition.close()
        acquisition.caller.acquisitions.removeAll { $0 === acquisition }
    }

    /// Ends a request with a reason. Links granted before stay valid.
    func fail(_ acquisition: Acquisition, _ error: NodeAgentError) {
        guard acquisition.isOpen else { return }
        tell(acquisition, "functions are refused: \(error.message) (\(error.code))")
        close(acquisition)
        acquisition.caller.send(
            .failed(request: acquisition.request, code: error.code, message: error.message))
    }

    /// Logs what became of something that HTTP requests wanted.
    func tell(_ acquisition: Acquisition, _ what: @autoclosure () -> String) {
        guard !acquisition.behalf.isEmpty, lines.take() else { return }
        log(what(), acquisition.behalf)
    }

    /// Ends all requests with a reason.
    func failAll(_ error: NodeAgentError) {
        for caller in Array(callers.values) + Array(routers.values) {
            for acquisition in caller.acquisitions { fail(acquisition, error) }
        }
        for (caller, request) in removals.values {
            caller.send(.failed(request: request, code: error.code, message: error.message))
        }
        removals = [:]
        questions = [:]
        wantedSince = [:]
    }
}

// The session with node: its begin, its events, its end. When it ends node ends all instances, so control
// forgets them; callers' links are gone as well, and whoever generates acquires again.
import ControlStore
import FunctionModel
import Logging
public import Wire

extension Controller {
    /// Digests in one `retain` command.
    private static let digestsPerMessage = 1024

    /// Node's socket is connected.
    public func connected(_ send: @escaping Send) { session = .opening(send) }

    /// Node's socket is gone.
    public func disconnected() {
        if case .down = session { return }
        session = .down
        let lost = table.count
        // What instances and node had counted belongs to the session that ended.
        statistics.endedInvocations += table.all.reduce(0) { $0 + ($1.usage?.invocations ?? 0) }
        statistics.warmAcquisitions += Int(clamping: statistics.warmAtNode)
        statistics.warmAtNode = 0
        predictionTotals.nodeEnded()
        table.removeAll()
        leaving = [:]
        _ = catalog.dropRetired(except: [])
        deployments = [:]
        watch?.cancel()
        watch = nil
        for waiter in reports.values { waiter.resume(returning: nil) }
        reports = [:]
        for waiter in verifications.values { waiter.resume(returning: (.damaged, "node was lost meanwhile")) }
        verifications = [:]
        settleEndWaiters(nil)
        logger.warning("node is gone, and \(lost) instances with it; connecting again")
        events.add(.node, "node", "the node is gone, and \(lost) instances with it")
    }

    /// Returns when a session with node is up.
    public func waitForNode() async {
        if isUp { return }
        await withCheckedContinuation { sessionWaiters.append($0) }
    }

    /// Calls `body` whenever a router's process is gone.
    public func onRouterEnd(_ body: @escaping @Sendable () -> Void) { routerEnded = body }

    /// One event of node. Events must come in order.
    public func handle(_ event: NodeEvent) {
        switch event {
        case .hello(let node, let features): greet(node, features)
        case .acquire(let request, let caller, let peer, let names, let functions, let behalf):
            acquire(request, caller: caller, peer: peer, names: names, functions: functions, behalf: behalf)
        case .ready(let instance, let pid, let microseconds):
            note { () throws(TransitionError) in try table.ready(instance, pid: pid) }
            if let function = table[instance]?.function {
                faulty.remove(function.id)
                events.add(
                    .coldStart, function.name,
                    "\(function.name) was started as process \(pid) in \(Double(microseconds / 10) / 100) ms")
            }
            keepWatch()
        case .exited(let instance, let status, let evicted, let reason, let usage):
            exited(instance, status: status, evicted: evicted, reason: reason, usage)
        case .usage(let request, let usage): report(request, usage)
        case .deploying(let deployment, let peer, let options): deploying(deployment, options, peer: peer)
        case .planned(let deployment, let manifest): planned(deployment, manifest)
        case .imported(let deployment, let manifest, let digests, let written, let bytes):
            imported(deployment, manifest, digests, written: Int(written), bytes: Int(clamping: bytes))
        case .removing(let request, let peer, let model): removing(request, peer: peer, model)
        case .verified(let request, let condition, let message):
            verifications.removeValue(forKey: request)?.resume(returning: (condition, message))
        case .warm(let acquisitions): statistics.warmAtNode = acquisitions
        case .memory(let usage): memory = usage
        case .predictions(let usage):
            predictions = usage
            predictionTotals.note(usage)
        case .faulty(let instance):
            if let function = table[instance]?.function.id { faulty.insert(function) }
        case .superfluous(let instances): order(instances, grace: settings.replaceGrace, because: .memory)
        }
    }

    private func greet(_ node: String, _ features: [Feature]) {
        guard case .opening(let send) = session else {
            logger.error("node said hello twice")
            return
        }
        session = .up(send, node: node, features: features)
        retain()
        tellUsers()
        logger.info("node \(node) is connected")
        events.add(.node, node, "the node \(node) is connected")
        for waiter in sessionWaiters { waiter.resume() }
        sessionWaiters = []
        restSoon()
    }

    /// Tells node which shards the registry refers to; it removes all others.
    func retain() {
        let known = catalog.digests
        let digests = known + doubtful.subtracting(known)
        var commands: [NodeCommand] = []
        for start in stride(from: 0, to: max(digests.count, 1), by: Self.digestsPerMessage) {
            let end = min(start + Self.digestsPerMessage, digests.count)
            commands.append(.retain(digests: Array(digests[start..<end]), last: end == digests.count))
        }
        send(commands)
    }

    private func note(_ transition: () throws(TransitionError) -> Void) {
        do throws(TransitionError) { try transition() } catch { logger.warning("\(error)") }
    }

    private func exited(_ id: UInt64, status: Int32, evicted: Bool, reason: String, _ usage: InstanceUsage) {
        for instance in table.note([usage]) {
            statistics.coldStart(of: instance, microseconds: usage.coldStartMicroseconds)
        }
        note { () throws(TransitionError) in
            let instance = try table.exited(id)
            statistics.endedInvocations += usage.invocations
            let reason = reason.isEmpty ? "status \(status)" : reason
            if evicted {
                statistics.evictions += 1
                let why = leaving[id].map { ": \($0.rawValue)" } ?? ""
                events.add(.evict, instance.function.name, "\(instance.function.name) was ended\(why)")
            } else {
                statistics.crashes += 1
                events.add(.crash, instance.function.name, "\(instance.function.name) ended unasked: \(reason)")
                crashLoops.ended(
                    instance.function.id, hasAnswered: usage.invocations > 0 || usage.coldStartMicroseconds > 0,
                    reason: reason, now: now())
                logger.warning(
                    "an instance ended unasked",
                    metadata: ["function": "\(instance.function.name)", "status": "\(status)", "reason": "\(reason)"])
            }
            if instance.function.runtime == .router {
                releaseRetired()
                routerEnded()
            }
        }
        leaving[id] = nil
        settleEndWaiters(id)
        restSoon()
    }
}

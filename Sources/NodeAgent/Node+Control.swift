// Control's session: its commands, and what it is told. In doubt, zero: when the session ends, every
// instance ends, and whoever waited is told so.
import CLinux
import Glibc
import Scheduler
import ShardStore
import Syscall
import Wire

extension Node {
    func controlConnected(_ socket: Descriptor, _ peer: Peer) {
        guard mayControl(peer) else { return log("user \(peer.uid) may not control this node") }
        if let control { controlLost(control.number, "a new session replaces it") }
        sessions += 1
        let number = sessions
        do throws(SyscallError) {
            control = try ControlSession(
                loop, socket, number: number, pid: peer.pid,
                onCommand: { [unowned self] command throws(NodeAgentError) in
                    // Frames of a session that was replaced meanwhile are nobody's orders.
                    if control?.number == number { try handle(command) }
                },
                onEnd: { [unowned self] in controlLost(number, $0) })
        } catch {
            return log("the control session could not begin: \(error)")
        }
        sayHello()
    }

    /// The first message; waits for the zygote, which knows the features.
    func sayHello() {
        guard let control, !control.greeted, let features else { return }
        control.greeted = true
        control.send(.hello(node: options.node, features: features))
        control.send(.memory(memory.usage))
        broker.controlArrived()
        deployments.controlArrived()
        restSoon()
    }

    /// False when there is no session, or none that was greeted yet: `hello` comes first.
    func tellControl(_ event: NodeEvent) -> Bool {
        guard let control, control.greeted else { return false }
        return control.send(event)
    }

    private func controlLost(_ number: UInt64, _ reason: String) {
        guard state == .running, let control, control.number == number else { return }
        log("the control session ended: \(reason)")
        control.close()
        self.control = nil
        instances.killAll("the control session ended")
        broker.failAll(
            NodeAgentError(
                code: "unavailable", message: "locum-control went away while functions were being acquired; try again"))
        deployments.controlLost()
    }

    private func handle(_ command: NodeCommand) throws(NodeAgentError) {
        switch command {
        case .spawn(let spec): spawn(spec)
        case .evict(let ids, let grace): instances.evict(ids, grace: grace)
        case .report(let request): report(request)
        case .granted(let request, let functions): try broker.granted(request, functions)
        case .denied(let request, let code, let message): broker.denied(request, code, message)
        case .committed(let deployment, let json):
            deployments.committed(deployment, json)
            restSoon()
        case .rejected(let deployment, let code, let message): deployments.rejected(deployment, code, message)
        case .retain(let digests, let last): try deployments.retain(digests, last: last)
        case .mayDeploy(let deployment, let probe, let sealed, let room):
            deployments.mayDeploy(deployment, probe: probe, sealed: sealed, room: room)
        case .mayWrite(let deployment): deployments.mayWrite(deployment)
        case .users(let users, let changed): setUsers(users, changed: changed)
        case .removed(let request): broker.removed(request)
        case .verify(let request, let bytes):
            guard let digest = ShardDigest(bytes) else { throw .badRequest("a digest has 32 bytes") }
            let session = control
            verifier.verify(digest) { session?.send(.verified(request: request, $0, message: $1)) }
        }
    }

    private func spawn(_ spec: InstanceSpec) {
        guard let control else { return }
        let requestedAt = broker.takeRequestTime(spec)
        do throws(NodeAgentError) {
            try instances.spawn(spec, session: control.number, requestedAt: requestedAt)
            broker.failures[spec.function] = nil
        } catch {
            control.send(
                .exited(
                    instance: spec.instance, status: -1, evicted: false, reason: error.message,
                    InstanceUsage(instance: spec.instance)))
            broker.failedToStart(spec, error)
        }
    }

    private func report(_ request: UInt32) {
        let session = control
        restSoon()
        let live = instances.all.filter { $0.session == session?.number }
        let answer = { [unowned self] (usage: [InstanceUsage]) in
            session?.send(.warm(acquisitions: broker.warm))
            session?.send(.memory(memory.usage))
            session?.send(.predictions(memory.predictionUsage))
            session?.send(.usage(request: request, usage))
        }
        if request & UsageReport.detailed == 0 {
            answer(UsageReport.short(live))
        } else if live.isEmpty {
            answer([])
        } else {
            UsageReport.detailed(live, store, loop, done: answer)
        }
    }

    // MARK: What control is told of instances

    func instanceReady(_ instance: Instance) {
        measureDaemons()
        if let control, control.number == instance.session {
            control.send(
                .ready(
                    instance: instance.id, pid: UInt32(clamping: instance.process?.pid ?? 0),
                    spawnMicroseconds: UInt32(clamping: (monotonic() - instance.orderedAt) / 1000)))
        }
        broker.instanceReady(instance)
    }

    func instanceGone(_ instance: Instance, status: Int32, reason: String) {
        if let control, control.number == instance.session {
            control.send(
                .exited(
                    instance: instance.id, status: status, evicted: instance.evicted, reason: reason,
                    instance.usage(at: monotonic())))
        }
        // After control was told: whoever waited for it asks control again, in this order.
        broker.instanceGone(instance, reason)
        restSoon()
    }

    /// A second after the last instance is gone node gives back what its work took.
    func restSoon() {
        loop.cancel(resting)
        resting = nil
        guard instances.all.isEmpty else { return }
        resting = loop.after(.seconds(1)) { [weak self] in
            guard let self else { return }
            resting = nil
            if instances.all.isEmpty { locum_give_back() }
        }
    }

    // MARK: The daemons' own memory

    private static let measuringPause = UInt64.seconds(5)

    /// What the daemons take is part of the budget. Looked at as long as there are instances, so that an idle node
    /// stays idle.
    private func measureDaemons() {
        guard measuring == nil else { return }
        let pids = ([getpid(), getppid(), control?.pid ?? 0] + zygotes.pids).filter { $0 > 1 }
        let bytes = pids.reduce(0) { $0 + Int(ProcessFacts.memory(of: $1).proportionalBytes) }
        let word = memory.measured(
            daemons: bytes + MemoryCost.margin, stalled: MemoryPressure.stalled(in: cgroup?.whole))
        if let word { log(word) }
        measuring = loop.after(Self.measuringPause) { [weak self] in
            guard let self else { return }
            measuring = nil
            if instances.all.isEmpty { memory.rest() } else { measureDaemons() }
        }
    }
}

// Finding an instance for each function of a request. Node answers from what is alive; control is asked once
// for all the rest, and again (at most three times) when an instance ended before it could be linked. Control
// hears of an end before it is asked again, because both travel in order on its session.
import Syscall
import Wire

extension Broker {
    /// Moves a request on as far as it goes now.
    func advance(_ acquisition: Acquisition) {
        guard acquisition.isOpen else { return }
        var missing: [Int] = []
        for position in acquisition.takeWanted() {
            guard let instance = candidate(acquisition.targets[position], for: acquisition.caller) else {
                missing.append(position)
                continue
            }
            if let fault = instance.fault { return fail(acquisition, fault) }
            if instance.state == .ready {
                acquisition.link(position, to: instance)
            } else {
                acquisition.wait(position)
                instance.waiters.append((acquisition, position))
            }
        }
        askControl(acquisition, missing)
        if acquisition.hasLinkable || acquisition.unlinked == 0 { flush(acquisition.caller) }
    }

    /// What a tenant means by a name, and whether it may have it, control alone knows.
    private func candidate(_ target: Acquisition.Target, for caller: Caller) -> Instance? {
        switch target {
        case .function(let function): instances.candidate(function)
        case .name(let name):
            isTenant(caller) ? nil : instances.function(named: name).flatMap { instances.candidate($0) }
        }
    }

    private func askControl(_ acquisition: Acquisition, _ positions: [Int]) {
        guard !positions.isEmpty else { return }
        // One question at a time; the rest is asked with its answer.
        guard acquisition.question == nil else { return positions.forEach { acquisition.want($0) } }
        // A name and an id are different questions; names are resolved first.
        let named = positions.filter { if case .name = acquisition.targets[$0] { true } else { false } }
        let asked = named.isEmpty ? positions : named
        var (names, functions): ([String], [UInt64]) = ([], [])
        for position in asked {
            let target = acquisition.targets[position]
            if wantedSince[target] == nil { wantedSince[target] = acquisition.arrived }
            switch target {
            case .name(let name): names.append(name)
            case .function(let function): functions.append(function)
            }
        }
        if let failure = finalFailure(acquisition, asked) { return fail(acquisition, failure) }
        guard acquisition.mayAsk(asked) else { return fail(acquisition, crashed(acquisition, asked)) }
        let number = number()
        let (instance, uid) = acquisition.caller.identity
        let question = NodeEvent.acquire(
            request: number, caller: instance, peer: uid, names: names, functions: functions, behalf: acquisition.behalf
        )
        guard ask(question) else {
            for position in positions { acquisition.want(position) }
            return awaitControl(acquisition)
        }
        acquisition.asked(number, asked)
        questions[number] = acquisition
        if !named.isEmpty {
            for position in positions where !named.contains(position) { acquisition.want(position) }
        }
    }

    /// What was asked for once and came to nothing in a way that another try would, too.
    private func finalFailure(_ acquisition: Acquisition, _ positions: [Int]) -> NodeAgentError? {
        for position in positions where !acquisition.isWarm(position) {
            guard case .function(let function) = acquisition.targets[position] else { continue }
            if let failure = failures[function], failure.isFinal { return failure }
        }
        return nil
    }

    private func crashed(_ acquisition: Acquisition, _ positions: [Int]) -> NodeAgentError {
        let target = positions.first.map { acquisition.targets[$0] }
        var reason = acquisition.lastReason
        var subject = "a function"
        switch target {
        case .function(let function):
            subject = "function \(function)"
            reason = reason ?? failures[function]?.message
        case .name(let name): subject = name
        case nil: break
        }
        return NodeAgentError(
            code: "crashed",
            message: "\(subject) did not come up, although it was started \(Acquisition.mostQuestions) times: "
                + "\(reason ?? "control ordered no instance of it")")
    }

    private func awaitControl(_ acquisition: Acquisition) {
        guard acquisition.patience == nil else { return }
        acquisition.patience = loop.after(Self.patience) { [weak self, weak acquisition] in
            guard let acquisition else { return }
            self?.fail(
                acquisition,
                NodeAgentError(
                    code: "unavailable",
                    message: "locum-control has not been there for \(Self.patience / 1_000_000_000) s; "
                        + "see whether `locum up` runs, and try again"))
        }
    }

    /// A control session began: what waited for one is asked now.
    func controlArrived() {
        warm = 0
        for caller in Array(callers.values) + Array(routers.values) {
            for acquisition in caller.acquisitions {
                loop.cancel(acquisition.patience)
                acquisition.patience = nil
                advance(acquisition)
            }
        }
    }

    // MARK: Control's answers

    /// - Throws: `NodeAgentError` when the answer fits no question; an answer to one that has ended is fine.
    func granted(_ number: UInt32, _ functions: [UInt64]) throws(NodeAgentError) {
        guard let acquisition = questions.removeValue(forKey: number) else { return }
        forgetTimes(acquisition)
        guard acquisition.answered(functions) else {
            throw .badRequest("it answered with \(functions.count) functions to a question for another number")
        }
        advance(acquisition)
    }

    func denied(_ number: UInt32, _ code: String, _ message: String) {
        if let (caller, request) = removals.removeValue(forKey: number) {
            return caller.send(.failed(request: request, code: code, message: message))
        }
        guard let acquisition = questions.removeValue(forKey: number) else { return }
        forgetTimes(acquisition)
        fail(acquisition, NodeAgentError(code: code, message: message))
    }

    /// The question is answered: what it was to start has been ordered, or will not be.
    func forgetTimes(_ acquisition: Acquisition) {
        for position in acquisition.question?.positions ?? [] { wantedSince[acquisition.targets[position]] = nil }
    }

    /// Control orders an instance: since when somebody waits for it, if anybody does.
    func takeRequestTime(_ spec: InstanceSpec) -> UInt64? {
        let byName = wantedSince.removeValue(forKey: .name(spec.name))
        let byFunction = wantedSince.removeValue(forKey: .function(spec.function))
        return [byName, byFunction].compactMap { $0 }.min()
    }

    // MARK: What becomes of instances

    func instanceReady(_ instance: Instance) {
        failures[instance.spec.function] = nil
        let waiters = instance.waiters
        instance.waiters = []
        for (acquisition, position) in waiters where acquisition.isOpen {
            acquisition.ready(position, instance)
            flushSoon(acquisition.caller)
        }
    }

    /// An instance takes no links any more: its callers hear of it, its own links as a caller end with it.
    func instanceLeaving(_ instance: Instance) {
        for link in instance.links {
            guard let caller = links[link]?.caller else { continue }
            if caller.revoked.isEmpty { loop.soon { [weak self, weak caller] in self?.tellRevoked(caller) } }
            caller.revoked.append(link)
            forget(link)
        }
        // One that was evicted while it started is not coming; control knows and may be asked at once.
        if instance.evicted { release(instance, "it was evicted") }
        if instance.state == .leaving, let caller = routers[instance.id] { disconnected(caller) }
    }

    /// An instance is gone and control has been told.
    func instanceGone(_ instance: Instance, _ reason: String) {
        release(instance, reason)
        if let caller = routers[instance.id] { disconnected(caller) }
        for user in reached.keys { reached[user]?.remove(instance.id) }
    }

    /// An instance could not be ordered; control has been told.
    func failedToStart(_ spec: InstanceSpec, _ error: NodeAgentError) { failures[spec.function] = error }

    /// An instance's shard is bad: who waits for it waits for nothing.
    func instanceFaulty(_ instance: Instance, _ fault: NodeAgentError) {
        let waiters = instance.waiters
        instance.waiters = []
        for (acquisition, _) in waiters where acquisition.isOpen { fail(acquisition, fault) }
    }

    private func release(_ instance: Instance, _ reason: String) {
        let waiters = instance.waiters
        instance.waiters = []
        for (acquisition, position) in waiters where acquisition.isOpen {
            tell(acquisition, "\(instance.spec.name) ended before it was ready: \(reason)")
            acquisition.lost(position, reason: reason)
            loop.soon { [weak self] in self?.advance(acquisition) }
        }
    }

    private func tellRevoked(_ caller: Caller?) {
        guard let caller else { return }
        var rest = caller.revoked[...]
        caller.revoked = []
        while !rest.isEmpty {
            caller.send(.revoked(links: Array(rest.prefix(8192))))
            rest = rest.dropFirst(8192)
        }
    }
}

// Ending instances: because they idle, because a person asks, because a deployment replaced them. Node drains,
// then kills; `exited` says when the process is gone.
public import FunctionModel
import Scheduler
import Wire

/// Why an instance is ended, in words.
enum Leave: String {
    case idle = "nobody called it"
    case memory = "others needed its memory"
    case replaced = "its model was deployed anew or removed"
    case tenant = "its tenant was removed"
    case asked = "somebody asked for it"
}

/// Someone who waits for processes to be gone.
struct EndWaiter {
    var instances: Set<UInt64>
    let continuation: CheckedContinuation<Void, Never>
}

extension Controller {
    /// Ends instances and returns when their processes are gone. Routers go first: while one runs it would
    /// only ask for its experts again.
    /// - Parameter target: `--all`, a model, or a function's full name.
    /// - Throws: `ControlFailure` `not_found`.
    public func evict(_ target: String) async throws(ControlFailure) -> EvictReport {
        let matches: @Sendable (FunctionRecord) -> Bool
        if target == "--all" {
            matches = { _ in true }
        } else if catalog.model(target) != nil {
            matches = { $0.model == target }
        } else if catalog.function(named: target) != nil {
            matches = { $0.name == target }
        } else {
            throw unknown(target.contains("/") ? "function" : "model", target)
        }
        return EvictReport(evicted: await end(grace: settings.evictGrace, matches))
    }

    /// Ends the routers that a tenant had for itself, when they have finished what is under way.
    public func releaseRouters(of tenant: String) {
        let name = Catalog.routerName("", for: tenant)
        order(
            table.all.filter { $0.function.name.hasSuffix(name) }.map(\.id), grace: settings.replaceGrace,
            because: .tenant)
    }

    /// Ends all instances of functions that match; answers how many.
    func end(grace: Duration, _ matches: (FunctionRecord) -> Bool) async -> Int {
        func living(_ runtime: Runtime) -> [UInt64] {
            table.all.filter { $0.function.runtime == runtime && matches($0.function) }.map(\.id)
        }
        let routers = living(.router)
        // Some of these end with their router already.
        var ended = Set(routers + living(.expert))
        await endAndWait(routers, grace: grace)
        let experts = living(.expert)
        ended.formUnion(experts)
        await endAndWait(experts, grace: grace)
        return ended.count
    }

    private func endAndWait(_ instances: [UInt64], grace: Duration) async {
        let living = instances.filter { table[$0] != nil }
        guard !living.isEmpty else { return }
        // Those that are leaving already hear it again: who waits for them sets their deadline.
        for instance in table.drain(living) { leaving[instance] = .asked }
        send([.evict(instances: living, graceMilliseconds: Self.milliseconds(grace))])
        await withCheckedContinuation { endWaiters.append(EndWaiter(instances: Set(living), continuation: $0)) }
    }

    /// Tells node to end instances; those that are leaving already are left alone.
    func order(_ instances: [UInt64], grace: Duration, because reason: Leave) {
        let fresh = table.drain(instances)
        guard !fresh.isEmpty else { return }
        for instance in fresh { leaving[instance] = reason }
        if reason == .memory { pressed(fresh) }
        send([.evict(instances: fresh, graceMilliseconds: Self.milliseconds(grace))])
    }

    private func pressed(_ instances: [UInt64]) {
        let names = instances.compactMap { table[$0]?.function.name }.sorted()
        let list = names.prefix(3).joined(separator: ", ") + (names.count > 3 ? " and \(names.count - 3) more" : "")
        events.add(.memory, names.first ?? "", "the memory budget is short: \(list) must make room")
    }

    private static func milliseconds(_ grace: Duration) -> UInt32 { UInt32(clamping: Int64(grace / .milliseconds(1))) }

    /// - Parameter ended: the instance whose process is gone; nil: all of them.
    func settleEndWaiters(_ ended: UInt64?) {
        for index in endWaiters.indices {
            if let ended { endWaiters[index].instances.remove(ended) } else { endWaiters[index].instances = [] }
        }
        for waiter in endWaiters where waiter.instances.isEmpty { waiter.continuation.resume() }
        endWaiters.removeAll { $0.instances.isEmpty }
    }

    /// A router ended: functions of old revisions that no router may call any more go, and their shards.
    func releaseRetired() {
        guard !catalog.retired.isEmpty else { return }
        let gone = catalog.dropRetired(except: Set(table.all.flatMap(\.callees)))
        guard !gone.isEmpty else { return }
        order(
            table.all.filter { gone.contains($0.function.id) }.map(\.id), grace: settings.evictGrace, because: .replaced
        )
        retain()
    }

    /// Makes sure somebody looks at idle instances as long as there are any.
    func keepWatch() {
        guard watch == nil, !table.isEmpty else { return }
        let pause = max(idle.first, IdlePolicy.shortestLook)
        watch = Task { [weak self] in
            var pause: Duration? = pause
            while let wait = pause {
                try? await Task.sleep(for: wait)
                if Task.isCancelled { return }
                pause = await self?.look()
            }
        }
    }

    /// From now on instances go by this policy, also those that were started under another one.
    public func change(idle policy: IdlePolicy) {
        guard policy != idle else { return }
        idle = policy
        // The next look may be due much sooner.
        watch?.cancel()
        watch = nil
        keepWatch()
    }

    /// Calls `body` whenever there is no instance and nothing was asked for a second.
    public func onRest(_ body: @escaping @Sendable () -> Void) { rest = body }

    /// Something was done, and it may have been the last for a while.
    func restSoon() {
        guard table.isEmpty else { return }
        resting?.cancel()
        resting = Task { [weak self] in
            try? await Task.sleep(for: .seconds(1))
            if !Task.isCancelled { await self?.restIfIdle() }
        }
    }

    private func restIfIdle() {
        resting = nil
        if table.isEmpty { rest() }
    }

    /// Counts the calls since the last look. Those between two looks are one: what matters is how long pauses are.
    private func learn() {
        let now = now()
        var alive: [UInt64: UInt64] = [:]
        for instance in table.all {
            guard let usage = instance.usage else { continue }
            alive[instance.id] = usage.invocations
            guard usage.invocations > counted[instance.id] ?? 0 else { continue }
            habits[instance.function.id, default: KeepAlive()].arrived(
                at: now - .milliseconds(Int64(clamping: usage.idleMilliseconds)))
        }
        counted = alive
    }

    /// Evicts what idles; answers when to look again, nil when there is nothing left to look at.
    func look() async -> Duration? {
        _ = await usage(detailed: false)
        guard !Task.isCancelled else { return nil }
        learn()
        let decision = idle.decide(table.all, now: now()) { habits[$0.function.id] }
        // A sequence may have begun since node looked: it gets the time to end.
        order(decision.evict, grace: settings.replaceGrace, because: .idle)
        // Instances that are leaving need no look; whatever starts next begins a new watch.
        if decision.nextLook == nil { watch = nil }
        return decision.nextLook
    }
}

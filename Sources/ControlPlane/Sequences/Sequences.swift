// Generation as the gateway sees it: a stream of events per sequence that no crash, eviction or new node
// disturbs. A sequence whose router is lost asks for the router again and replays; after so many tries without
// progress it gives up with an error.
import FunctionModel
import Logging
import Scheduler
import Synchronization
public import Wire

/// Runs sequences on the routers of all models.
public final class Sequences: Sendable {
    /// Tries in a row that may bring nothing new.
    static let mostTries = 5
    /// How often a router full of others' sequences is asked again, and how long between: a minute in all. It is
    /// also full for a moment when one was cancelled and it computes.
    static let mostBusyTries = 600
    static let busyPause = Duration.milliseconds(100)

    private let routers: RouterDirectory
    private let controller: Controller
    private let tenants: Tenants
    private let metering: Metering?
    private let gates = Mutex<[String: SequenceGate]>([:])
    private let firstPause: Duration

    /// - Parameter connect: links to a router, by its full name, starting it when needed.
    public init(
        controller: Controller, tenants: Tenants, metering: Metering? = nil, firstPause: Duration = .milliseconds(20),
        connect: @escaping @Sendable (_ router: String) async throws(RouterUnavailable) -> any RouterAccess
    ) {
        (self.controller, self.tenants, self.metering) = (controller, tenants, metering)
        self.firstPause = firstPause
        routers = RouterDirectory(connect: connect)
    }

    /// Lets go of links whose router has ended.
    public func releaseLost() async { await routers.discardLost() }

    /// Sequences that run and that wait, over all models.
    public var load: (active: Int, waiting: Int) {
        gates.withLock { $0.values.reduce((0, 0)) { ($0.0 + $1.load.active, $0.1 + $1.load.waiting) } }
    }

    /// The same of each tenant that has any.
    public var loads: [String: (active: Int, waiting: Int)] {
        gates.withLock { gates in
            gates.values.reduce(into: [:]) { sums, gate in
                sums.merge(gate.loads) { ($0.active + $1.active, $0.waiting + $1.waiting) }
            }
        }
    }

    /// Starts sequences of one request, all or none. Each stream ends with `finished` or `failed`; dropping it
    /// ends its sequence.
    /// - Parameter model: its full name.
    /// - Throws: `ControlFailure` `not_found`, `queue_full`, `rate_limited`.
    public func generate(
        _ model: String, _ specs: [GenerateSpec], for caller: Caller
    ) async throws(ControlFailure) -> [AsyncStream<RouterEvent>] {
        guard tenants.allows(caller, model) else { throw Self.unknown(model) }
        do throws(ControlFailure) { try await controller.require(model) } catch {
            // A tenant hears the same of what it may not use and of what is not there.
            throw caller == .local ? error : Self.unknown(model)
        }
        let own = try tenants.admit(caller, sequences: specs.count)
        let router = tenants.router(of: model, for: caller)
        let gate = gates.withLock { gates in
            let settings = controller.settings
            let gate =
                gates[router]
                ?? SequenceGate(atOnce: settings.sequences, queue: settings.queue, spare: settings.spareSequences)
            gates[router] = gate
            return gate
        }
        let ask = Ask(
            model: model, router: router, caller: caller,
            use: UsageKey(tenant: caller.name, model: model, key: caller.key), gate: gate,
            asked: controller.now())
        guard gate.reserve(specs.count, of: caller.name) else {
            for _ in specs { own?.abandon("") }
            // Of others a tenant hears nothing; to add them up would take longer the more there are.
            let load = caller == .local ? gate.load : nil
            throw ControlFailure(
                code: "queue_full",
                message: (load.map { "\(model) has \($0.active) sequences under way and \($0.waiting) waiting" }
                    ?? "\(gate.places(of: caller.name)) of your sequences run or wait at \(model)")
                    + "; there is no place for \(specs.count) more, try again later", retryAfter: 1)
        }
        metering?.count(ask.use) { $0.requests += 1 }
        return specs.map { spec in
            let (stream, sink) = AsyncStream<RouterEvent>.makeStream()
            let task = Task {
                // First a place among the tenant's own, then one at the router: who waits for the first holds no other up.
                if await own?.enter("", FairShare()) ?? true {
                    if await gate.enter(caller.name, tenants.share(of: caller)) {
                        // Much may have been used since this was asked, the key revoked, the model taken away.
                        let refusal =
                            tenants.refusal(of: caller) ?? (tenants.allows(caller, model) ? nil : Self.unknown(model))
                        if let refusal {
                            sink.yield(.failed(code: refusal.code, parameter: "", message: refusal.message))
                        } else {
                            await self.run(ask, spec, sink)
                        }
                        gate.leave(caller.name)
                    } else {
                        gate.abandon(caller.name)
                    }
                    own?.leave("")
                } else {
                    own?.abandon("")
                    gate.abandon(caller.name)
                }
                sink.finish()
            }
            sink.onTermination = { _ in task.cancel() }
            return stream
        }
    }

    static func unknown(_ model: String) -> ControlFailure {
        ControlFailure(
            code: "not_found",
            message: "there is no model \(model.prefix(100)) that this key may use; GET /v1/models lists them")
    }

    /// Who asks for what, from whom, and who pays.
    private struct Ask: Sendable {
        let model: String
        /// The router function's full name.
        let router: String
        let caller: Caller
        let use: UsageKey
        let gate: SequenceGate
        let asked: Moment
    }

    private func run(_ ask: Ask, _ spec: GenerateSpec, _ sink: AsyncStream<RouterEvent>.Continuation) async {
        var spec = spec
        spec.owner = ask.caller.number
        spec.ownerBytes = tenants.keyValueBytes(of: ask.caller)
        var replay = Replay(spec)
        var clock = FirstTokenClock(asked: ask.asked)
        var (tries, busyTries) = (0, 0)
        // What is wrong with the shard says more than that its instances end again and again.
        var damage: String?
        while !Task.isCancelled {
            switch await attempt(ask, &replay, &clock, sink) {
            case .ended: return
            case .busy(let reason):
                busyTries += 1
                guard busyTries <= Self.mostBusyTries else { return giveUp(ask, reason, sink) }
                try? await Task.sleep(for: Self.busyPause)
            case .lost(let progress, let reason, let isDamage):
                controller.logger.info("the router of \(ask.model) is lost, and asked for again: \(reason)")
                tries = progress ? 1 : tries + 1
                damage = isDamage ? reason : progress ? nil : damage
                guard tries <= Self.mostTries else { return giveUp(ask, damage ?? reason, sink) }
                // At once after progress: a crash should not be felt.
                if tries > 1 { try? await Task.sleep(for: firstPause * (1 << (tries - 2))) }
            }
        }
    }

    private func giveUp(_ ask: Ask, _ reason: String, _ sink: AsyncStream<RouterEvent>.Continuation) {
        var message = "\(ask.model) could not be served"
        if ask.caller == .local {
            message += ": \(reason)"
        } else {
            // The reason may name what is another tenant's.
            controller.logger.warning("\(message) to \(ask.caller.name): \(reason)")
            message += "; try again later"
        }
        sink.yield(.failed(code: "unavailable", parameter: "", message: message))
    }

    private enum Outcome {
        case ended
        /// The router has no place; this sequence had none yet.
        case busy(reason: String)
        /// The router is gone or refuses; `progress`: it had brought something new; `isDamage`: its shard cannot be used.
        case lost(progress: Bool, reason: String, isDamage: Bool = false)
    }

    private func attempt(
        _ ask: Ask, _ replay: inout Replay, _ clock: inout FirstTokenClock,
        _ sink: AsyncStream<RouterEvent>.Continuation
    ) async -> Outcome {
        let model = ask.model
        let router: any RouterAccess
        do throws(RouterUnavailable) {
            let begun = controller.now()
            let found = try await routers.router(ask.router)
            router = found.router
            // Who finds a model asleep does not pay for its start with its turns.
            if !found.warm { ask.gate.refund(ask.caller.name, controller.now() - begun) }
            if found.warm { await controller.countWarm() } else { clock.router = found.router.startCost }
            // One that was running before control began was started for nobody here.
            if found.isFirst, router.startCost.map + router.startCost.read > 0 {
                metering?.count(ask.use) { $0.coldStarts += 1 }
            }
        } catch {
            if error.code == "not_found" || error.code == "denied" {
                let failure =
                    ask.caller == .local
                    ? ControlFailure(code: error.code, message: error.message) : Self.unknown(model)
                sink.yield(.failed(code: failure.code, parameter: "model", message: failure.message))
                return .ended
            }
            return .lost(
                progress: false, reason: error.message,
                isDamage: error.code == "bad_shard" || error.code == "shard_missing")
        }
        let now = await controller.standing(model)
        guard replay.continues(revision: now?.revision, context: now?.context ?? 0) else {
            sink.yield(
                .failed(
                    code: "model_changed", parameter: "model",
                    message: "\(model) was deployed anew or removed while this answer was under way; ask again"))
            return .ended
        }
        var progress = false
        let spec = replay.spec
        let meter = metering?.begin(ask.use)
        let updates = router.start(spec) { cost in
            guard let (computed, time) = meter?.used(cost) else { return }
            ask.gate.note(ask.caller.name, computed: computed, held: time)
        }
        for await update in updates {
            switch update {
            case .lost(let reason):
                await routers.discard(ask.router, router)
                return .lost(progress: progress, reason: reason)
            case .event(.failed("busy", _, let message)): return .busy(reason: message)
            case .event(.failed(let code, _, let message)) where Self.passing.contains(code):
                await routers.discard(ask.router, router)
                return .lost(progress: progress, reason: message)
            case .event(let event):
                var fresh: RouterEvent
                switch replay.pass(event) {
                case .news(let news): fresh = news
                case .known: continue
                case .nonsense(let what):
                    router.distrust()
                    await routers.discard(ask.router, router)
                    let message = "the router of \(model) \(what), and was ended"
                    sink.yield(.failed(code: "broken", parameter: "", message: message))
                    return .ended
                }
                if case .firstToken(let parts) = fresh {
                    let whole = clock.whole(parts, at: controller.now())
                    if clock.router != nil {
                        await controller.note(whole, of: model)
                        // Nor for that of its experts, only for what they compute.
                        if let meter { ask.gate.refund(ask.caller.name, meter.forgive()) }
                    }
                    fresh = .firstToken(whole)
                }
                progress = true
                spend(fresh, ask)
                sink.yield(fresh)
                if fresh.isLast { return .ended }
            }
        }
        if Task.isCancelled { return .ended }
        await routers.discard(ask.router, router)
        return .lost(progress: progress, reason: "its router ended")
    }

    private func spend(_ event: RouterEvent, _ ask: Ask) {
        switch event {
        case .started(let prompt, _, let cached):
            tenants.spend(prompt.count - Int(cached), of: ask.caller)
            metering?.count(ask.use) {
                $0.promptTokens += Int64(prompt.count)
                $0.cachedTokens += Int64(cached)
            }
        case .token:
            tenants.spend(1, of: ask.caller)
            metering?.count(ask.use) { $0.outputTokens += 1 }
        default: break
        }
    }

    /// Failures of a router that another try may not meet.
    private static let passing: Set<String> = ["draining", "lost", "unavailable", "crashed", "broken"]
}

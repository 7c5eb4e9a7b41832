// All instances of this node, by id and by function, and what happens to them: orders to the zygote, its
// reports, what workers say and how they end. It decides nothing: control orders starts and ends, and
// whoever waits for an instance is told by the callbacks.
import CLinux
import Glibc
import ShardStore
import Syscall
import Wire

/// The live instances.
final class InstanceTable {
    /// A worker that is not ready by then is killed: page faults of a cold shard on a slow disk included.
    static let startTimeout = UInt64.seconds(60)

    /// A router without a sequence is left alone that long.
    private static let courtesy = UInt64.milliseconds(500)
    /// The same if it never had one: whoever had it started may be waiting for room.
    private static let longCourtesy = UInt64.seconds(10)

    /// Answers that are on their way when an instance is given up.
    private static let lastWords = UInt64.milliseconds(100)

    private let loop: EventLoop
    private let store: ShardStore
    private let zygotes: ZygoteGenerations
    private let identity: WorkerIdentity
    private let cpus: [UInt32]
    private let memory: Memory
    private var instances: [UInt64: Instance] = [:]
    private var byFunction: [UInt64: [Instance]] = [:]
    private var functionByName: [String: UInt64] = [:]

    var onReady: (Instance) -> Void = { _ in }
    /// It takes no links any more; those it has are lost or about to be.
    var onLeaving: (Instance) -> Void = { _ in }
    /// Its process is gone and it is forgotten. Status -1: there never was one.
    var onGone: (_ instance: Instance, _ status: Int32, _ reason: String) -> Void = { _, _, _ in }
    /// A request that concerns acquiring.
    var onRequest: (Instance, InvokeRequest) -> Void = { _, _ in }
    /// Idle instances whose memory others need.
    var onSuperfluous: ([UInt64]) -> Void = { _ in }
    /// Its shard is bad: it has a `fault`.
    var onFault: (_ instance: Instance, _ fault: NodeAgentError) -> Void = { _, _ in }
    var onAccepted: (Instance) -> Void = { _ in }

    init(
        _ loop: EventLoop, _ store: ShardStore, _ zygotes: ZygoteGenerations, _ memory: Memory,
        _ identity: WorkerIdentity
    ) {
        (self.loop, self.store, self.zygotes, self.memory, self.identity) = (loop, store, zygotes, memory, identity)
        var numbers = [Int32](repeating: 0, count: 1024)
        let count = locum_allowed_cpus(&numbers, 1024)
        cpus = count > 0 ? numbers.prefix(Int(count)).map { UInt32($0) } : [0]
        zygotes.onEvent = { [unowned self] in handle($0, $1) }
        zygotes.onDeath = { [unowned self] ids, reason in
            for instance in ids.compactMap({ instances[$0] }) {
                gone(instance, status: -1, reason: instance.reason ?? reason)
            }
        }
        memory.end = { [unowned self] in end($0, $1) }
        memory.endIdle = { [unowned self] in endIdle($0, routersOnly: $1) }
        memory.reclaim = { [unowned self] in
            instances[$0]?.channel?.send(InvokeEvent.reclaim(bytes: UInt64($1)).frame)
        }
    }

    // MARK: Looking up

    var all: [Instance] { Array(instances.values) }
    func instance(_ id: UInt64) -> Instance? { instances[id] }
    func uses(_ digest: ShardDigest) -> Bool { instances.values.contains { $0.digest == digest } }
    func function(named name: String) -> UInt64? { functionByName[name] }

    /// The instance to use for a function: a ready one, else one on its way, else one whose end control has
    /// not heard of yet (then what follows it is worth waiting for). Several ready ones: the least linked.
    func candidate(_ function: UInt64) -> Instance? {
        let all = byFunction[function] ?? []
        if let ready = all.filter({ $0.state == .ready }).min(by: { $0.links.count < $1.links.count }) { return ready }
        return all.first { $0.isComing } ?? all.first { $0.state == .leaving && !$0.evicted }
    }

    // MARK: Starting

    /// Orders an instance. A failure is reported by `onGone` like the end of one that ran.
    func spawn(_ spec: InstanceSpec, session: UInt64, requestedAt: UInt64?) throws(NodeAgentError) {
        guard instances[spec.instance] == nil else { throw .badRequest("instance \(spec.instance) exists") }
        guard let digest = ShardDigest(spec.digest) else { throw .badRequest("\(spec.name): a digest has 32 bytes") }
        guard (1...64).contains(spec.lanes) else { throw .badRequest("\(spec.name): \(spec.lanes) lanes") }
        let instance: Instance
        do {
            let shard = try store.open(digest)
            let page = try SharedMemory(name: "locum-status", count: 4096)
            let (ours, theirs) = try Seqpacket.pair()
            instance = Instance(
                spec, digest: digest, shardBytes: Int(clamping: shard.length), session: session,
                requestedAt: requestedAt ?? monotonic(),
                status: try Mapping(page.writable.raw, count: 4096, writable: true))
            instance.channel = try PacketChannel(
                loop, ours, onPacket: { [weak self, weak instance] in self?.receive($0, from: instance) },
                onEnd: { [weak self, weak instance] in self?.lost(instance, $0) })
            let order = SpawnOrder(
                instance: spec.instance, name: spec.name, runtime: spec.runtime,
                cpus: (0..<Int(spec.lanes)).map { cpus[$0 % cpus.count] }, uid: identity.uid(for: spec.instance),
                shardBytes: shard.length, sequences: spec.sequences,
                functionsAtOnce: spec.functionsAtOnce, mostPrivate: memory.mostPrivate(spec))
            instances[instance.id] = instance
            memory.reserve(process: instance) { [weak self, weak instance] in
                guard let self, let instance, instance.state == .starting else { return }
                instance.ordered()
                memory.attach(instance)
                zygotes.spawn(order, [theirs, shard.file, page.writable])
            }
        } catch let error as ShardStoreError {
            throw NodeAgentError(code: error.code, message: "\(spec.name): \(error)")
        } catch {
            throw NodeAgentError(code: "exhausted", message: "\(spec.name) could not be started: \(error)")
        }
        byFunction[spec.function, default: []].append(instance)
        functionByName[spec.name] = spec.function
        instance.timer = loop.after(Self.startTimeout) { [weak self, weak instance] in
            self?.end(instance, "it was not ready after \(Self.startTimeout / 1_000_000_000) s")
        }
    }

    // MARK: Ending

    /// Drains instances; those not gone after `grace` milliseconds are killed.
    func evict(_ ids: [UInt64], grace: UInt32) {
        for id in ids {
            guard let instance = instances[id] else { continue }
            let draining = instance.drain() && grace > 0
            onLeaving(instance)
            loop.cancel(instance.timer)
            if draining {
                instance.timer = loop.after(.milliseconds(UInt64(grace))) { [weak instance] in instance?.leave(nil) }
            } else {
                instance.leave(nil)
                reportUnordered(instance)
            }
        }
    }

    /// One that the zygote knows of is reported gone by it; of any other nothing more will be heard.
    private func reportUnordered(_ instance: Instance) {
        if instance.awaitsRoom { gone(instance, status: -1, reason: instance.reason ?? "it was not wanted any more") }
    }

    /// Asks control to end instances that have nothing under way until so many bytes come free: those without a shard in
    /// memory first, routers and what they keep last, else by how long they were idle.
    private func endIdle(_ bytes: Int, routersOnly: Bool) {
        // Those already asked for count, too.
        var left = bytes - instances.values.reduce(0) { $0 + ($1.isSuperfluous ? freed(by: $1) : 0) }
        guard left > 0 else { return }
        let idle = instances.values.filter { isIdle($0) && (!routersOnly || $0.spec.runtime == .router) }.map {
            (
                instance: $0, cost: $0.spec.runtime == .router ? 2 : $0.shardState != LOCUM_SHARD_ABSENT ? 1 : 0,
                last: $0.page.last_active_ns
            )
        }
        var chosen: [UInt64] = []
        for (instance, _, _) in idle.sorted(by: { ($0.cost, $0.last) < ($1.cost, $1.last) })
        where left > 0 {
            chosen.append(instance.id)
            instance.isSuperfluous = true
            left -= freed(by: instance)
        }
        if !chosen.isEmpty { onSuperfluous(chosen) }
    }

    /// A router's shard goes with it; an expert's may go before.
    private func freed(by instance: Instance) -> Int {
        Int(clamping: instance.spec.overhead) + (instance.spec.runtime == .router ? instance.shardBytes : 0)
    }

    /// Nothing is under way and nothing is about to be.
    private func isIdle(_ instance: Instance) -> Bool {
        guard instance.state == .ready, !instance.usesShard, !instance.isSuperfluous else { return false }
        switch instance.spec.runtime {
        case .expert: return !memory.isWanted(instance)
        // Its first sequence may be on its way.
        case .router:
            let patience = memory.hasServed(instance) ? Self.courtesy : Self.longCourtesy
            return instance.idleNanoseconds(at: monotonic()) > patience
        }
    }

    /// Kills all instances, whoever uses them. Their ends are reported as they come.
    func killAll(_ reason: String) {
        for instance in all { end(instance, reason) }
    }

    /// Ends one that went wrong.
    func end(_ instance: Instance?, _ reason: String?) {
        guard let instance, instance.state != .dead else { return }
        instance.leave(reason)
        onLeaving(instance)
        reportUnordered(instance)
    }

    private func gone(_ instance: Instance, status: Int32, reason: String) {
        guard instance.state != .dead else { return }
        if instance.state != .leaving { onLeaving(instance) }
        loop.cancel(instance.timer)
        instance.die()
        instances[instance.id] = nil
        let function = instance.spec.function
        byFunction[function]?.removeAll { $0 === instance }
        if byFunction[function]?.isEmpty ?? true {
            byFunction[function] = nil
            if functionByName[instance.spec.name] == function { functionByName[instance.spec.name] = nil }
        }
        memory.detach(instance)
        memory.release(instance)
        onGone(instance, status, reason)
    }

    // MARK: What the zygote says

    private func handle(_ event: ZygoteEvent, _ descriptors: [Descriptor]) {
        switch event {
        case .started: break
        case .spawned(let id):
            guard let instance = instances[id], let pidfd = descriptors.first else { return }
            instance.spawned(StartedProcess(pid: ProcessFacts.pid(of: pidfd), pidfd: pidfd))
            becomeReady(instance)
        case .failed(let id, let stage, let errno):
            guard let instance = instances[id] else { return }
            let error = SyscallError(stage: stage, errno: errno)
            gone(instance, status: -1, reason: "it could not be started: \(error)")
        case .exited(let id, let status):
            guard let instance = instances[id] else { return }
            instance.channel?.hearLastWords()
            let exit = ExitReason(status: status)
            // A page of a mapped file that was not there: the file was cut off, or the disk failed.
            if exit.signal == SIGBUS, instance.fault == nil { shardIsBad(instance, "could not be read: \(exit)") }
            gone(instance, status: status, reason: instance.reason ?? "\(exit)")
        }
    }

    // MARK: What workers say

    private func receive(_ packet: Packet, from instance: Instance?) {
        guard let instance, instance.state != .dead else { return }
        do {
            guard packet.descriptors.isEmpty else { throw NodeAgentError.badRequest("it sent descriptors") }
            guard instance.words.take() else {
                throw NodeAgentError.badRequest("it sends more than \(instance.words.perSecond) messages a second")
            }
            switch (try InvokeRequest(frame: packet.bytes), instance.spec.runtime) {
            case (.ready(let width, let experts), _):
                try instance.announce(Instance.Announcement(width: width, experts: experts))
                becomeReady(instance)
            case (.accepted, _):
                guard instance.awaitsAccepted else {
                    throw NodeAgentError.badRequest("it accepted what nobody offered")
                }
                instance.awaitsAccepted = false
                onAccepted(instance)
            case (.need, _): memory.need(instance)
            case (.loaded(let nanoseconds), _): memory.loaded(instance, nanoseconds)
            case (.dropped, _): memory.dropped(instance)
            case (.kept, _): memory.kept(instance)
            case (.unreadable(let number), _):
                memory.unreadable(instance)
                shardIsBad(instance, "cannot be read: \(SyscallError(stage: "read it", errno: number))")
            case (.failed("bad_shard", let message), _): shardIsBad(instance, "is bad: \(message.prefix(1000))")
            case (.failed(let code, let message), _): end(instance, "\(message.prefix(1000)) (\(code.prefix(64)))")
            case (let request, .router): onRequest(instance, request)
            case (_, .expert): throw NodeAgentError.badRequest("it made a request that an expert may not make")
            }
        } catch {
            end(instance, "its message was refused: \(error)")
        }
    }

    /// Whoever waits for it or asks in the next moment is told why; then it goes, and whoever asks later has another
    /// instance try: the disk may be well again.
    private func shardIsBad(_ instance: Instance, _ what: String) {
        guard instance.fault == nil else { return }
        let fault = NodeAgentError(
            code: "bad_shard",
            message:
                "the shard \(instance.digest) of \(instance.spec.name) \(what); `locum verify` says more, and deploying "
                + "the model again writes it anew")
        instance.fault = fault
        onFault(instance, fault)
        loop.after(Self.lastWords) { [weak self, weak instance] in self?.end(instance, fault.message) }
    }

    private func becomeReady(_ instance: Instance) {
        guard instance.becomeReady() else { return }
        loop.cancel(instance.timer)
        instance.timer = nil
        onReady(instance)
    }

    private func lost(_ instance: Instance?, _ reason: PacketChannel.End) {
        guard let instance else { return }
        switch reason {
        // A draining worker leaves by itself, in its own time.
        case .closed where instance.state == .draining: instance.channel?.close()
        // How it died is said by its exit status.
        case .closed: end(instance, nil)
        case .malformed(let what): end(instance, "its message was refused: \(what)")
        case .congested: end(instance, "it did not read what it was sent")
        }
    }
}

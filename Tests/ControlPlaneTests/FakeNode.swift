// A node without processes: it starts what it is told to start, ends what it is told to end, reports the usage
// that the test has set, and remembers all commands. Its events go to the controller one at a time, in order.
import ControlStore
import FunctionModel
import Logging
import Synchronization
import Wire

@testable import ControlPlane

final class FakeNode: Sendable {
    struct State {
        var commands: [NodeCommand] = []
        var living: [UInt64: InstanceSpec] = [:]
        var usage: [UInt64: InstanceUsage] = [:]
        /// Instances that do not end when they are told to.
        var stubborn: Set<UInt64> = []
        var damaged: Set<[UInt8]> = []
        /// It answers no report.
        var hangs = false
        var request: UInt32 = 0
    }
    let controller: Controller
    let state = Mutex(State())
    private let events: AsyncStream<NodeEvent>.Continuation

    init(_ controller: Controller) async {
        self.controller = controller
        let (stream, sink) = AsyncStream<NodeEvent>.makeStream()
        events = sink
        Task { for await event in stream { await controller.handle(event) } }
        await controller.connected { [self] in for command in $0 { obey(command) } }
        await controller.handle(.hello(node: "n1", features: [Feature(name: "seccomp", state: "in force")]))
    }

    func send(_ event: NodeEvent) { events.yield(event) }

    private func obey(_ command: NodeCommand) {
        let answers: [NodeEvent] = state.withLock { state in
            state.commands.append(command)
            switch command {
            case .spawn(let spec):
                state.living[spec.instance] = spec
                return [.ready(instance: spec.instance, pid: UInt32(1000 + spec.instance), spawnMicroseconds: 200)]
            case .evict(let instances, _):
                return instances.filter { !state.stubborn.contains($0) }.compactMap { id in
                    guard state.living.removeValue(forKey: id) != nil else { return nil }
                    return .exited(
                        instance: id, status: 0, evicted: true, reason: "",
                        state.usage[id] ?? InstanceUsage(instance: id))
                }
            case .report where state.hangs: return []
            case .report(let request):
                return [
                    .usage(request: request, state.living.keys.map { state.usage[$0] ?? InstanceUsage(instance: $0) })
                ]
            case .verify(let request, let digest):
                let intact = !state.damaged.contains(digest)
                return [
                    .verified(
                        request: request, intact ? .intact : .damaged, message: intact ? "" : "its digest differs")
                ]
            default: return []
            }
        }
        for event in answers { events.yield(event) }
    }

    /// Ends an instance unasked.
    func crash(_ id: UInt64) {
        state.withLock { _ = $0.living.removeValue(forKey: id) }
        send(.exited(instance: id, status: 9, evicted: false, reason: "killed", InstanceUsage(instance: id)))
    }

    /// Asks for functions by name; answers what control granted or denied.
    /// - Parameter peer: the user who asks.
    func acquire(_ names: [String], _ ids: [UInt64] = [], peer: UInt32 = 0) async -> NodeCommand? {
        await ask { .acquire(request: $0, caller: 0, peer: peer, names: names, functions: ids) }
    }
    func acquire(_ ids: [UInt64], caller: UInt64) async -> NodeCommand? {
        await ask { .acquire(request: $0, caller: caller, peer: 0, names: [], functions: ids) }
    }

    private func ask(_ event: (UInt32) -> NodeEvent) async -> NodeCommand? {
        let request = state.withLock { state in
            state.request += 1
            return state.request
        }
        send(event(request))
        return await wait { commands in
            commands.last {
                switch $0 {
                case .granted(request, _), .denied(request, _, _): true
                default: false
                }
            }
        }
    }

    /// Waits until `find` finds something among the commands; nil after 5 s.
    func wait<T: Sendable>(_ find: @Sendable ([NodeCommand]) -> T?) async -> T? {
        for _ in 0..<2500 {
            if let found = state.withLock({ find($0.commands) }) { return found }
            try? await Task.sleep(for: .milliseconds(2))
        }
        return nil
    }

    var spawned: [InstanceSpec] {
        state.withLock { $0.commands.compactMap { if case .spawn(let spec) = $0 { spec } else { nil } } }
    }
    var living: Set<UInt64> { state.withLock { Set($0.living.keys) } }
    func living(_ name: String) -> UInt64? { state.withLock { $0.living.first { $0.value.name == name }?.key } }
    /// The digests of the last complete list that node was told to keep.
    var retained: [[UInt8]] {
        state.withLock { state in
            var (list, done): ([[UInt8]], [[UInt8]]) = ([], [])
            for case .retain(let digests, let last) in state.commands {
                list += digests
                if last { (done, list) = (list, []) }
            }
            return done
        }
    }
}

/// A store in memory, with the ids of the real one.
final class MemoryStore: RegistryStore {
    private struct State {
        var models: [String: ModelRecord] = [:]
        var nextFunction: UInt64 = 1
        var nextInstance: UInt64 = 1
        var tenants: [String: TenantRecord] = [:]
        var operatorKeys: [OperatorKey] = []
        var failure: StoreError?
    }
    private let state = Mutex(State())

    func fail(with error: StoreError?) { state.withLock { $0.failure = error } }

    func models() throws(StoreError) -> [ModelRecord] {
        state.withLock { $0.models.values.sorted { $0.name < $1.name } }
    }

    func deploy(_ draft: ModelDraft) throws(StoreError) -> ModelRecord {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        if let owner = ModelName.owner(of: draft.name), state.withLock({ $0.tenants[owner] }) == nil {
            throw StoreError(code: "no_tenant", message: "there is no tenant \(owner)")
        }
        return state.withLock { state in
            let old = state.models[draft.name]
            let functions = draft.manifest.functions.enumerated().map { index, function in
                let name = "\(draft.name)/\(function.name)"
                let digest = draft.digests[function.shard]
                var id = old?.functions.first { $0.name == name && $0.digest == digest }?.id ?? 0
                if id == 0 {
                    id = state.nextFunction
                    state.nextFunction += 1
                }
                return FunctionRecord(
                    id: id, model: draft.name, index: index, name: name, runtime: index == 0 ? .router : .expert,
                    digest: digest, bytes: function.bytes, experts: function.experts, node: draft.node)
            }
            let record = ModelRecord(
                name: draft.name, revision: (old?.revision ?? 0) + 1, manifest: draft.manifest, options: draft.options,
                deployedAt: draft.deployedAt, node: draft.node, functions: functions)
            state.models[draft.name] = record
            return record
        }
    }

    func remove(model: String) throws(StoreError) -> Bool {
        state.withLock { $0.models.removeValue(forKey: model) != nil }
    }

    func tenants() throws(StoreError) -> [TenantRecord] {
        state.withLock { $0.tenants.values.sorted { $0.name < $1.name } }
    }

    func write(_ tenant: TenantRecord) throws(StoreError) {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        state.withLock { $0.tenants[tenant.name] = tenant }
    }

    func operatorKeys() throws(StoreError) -> [OperatorKey] { state.withLock { $0.operatorKeys } }

    func write(_ keys: [OperatorKey]) throws(StoreError) {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        state.withLock { $0.operatorKeys = keys }
    }

    func remove(tenant: String) throws(StoreError) -> Bool {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        let models = state.withLock { $0.models.keys.filter { ModelName.owner(of: $0) == tenant } }
        guard models.isEmpty else { throw StoreError(code: "in_use", message: "tenant \(tenant) has models") }
        return state.withLock { $0.tenants.removeValue(forKey: tenant) != nil }
    }

    func reserveInstances(_ count: Int) throws(StoreError) -> Range<UInt64> {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        return state.withLock { state in
            defer { state.nextInstance += UInt64(count) }
            return state.nextInstance..<state.nextInstance + UInt64(count)
        }
    }
}

/// A draft with a router and `experts` expert functions; those in `changed` have another shard.
func draft(_ name: String = "m", experts: Int = 3, changed: Set<Int> = []) -> ModelDraft {
    let functions = (0...experts).map { index in
        ImportManifest.Function(
            name: index == 0 ? "router" : "L00-E00\(index - 1)", runtime: index == 0 ? "router" : "expert",
            shard: index,
            bytes: 4096, experts: index == 0 ? 0 : 1)
    }
    let manifest = ImportManifest(
        architecture: "qwen2_moe", parameters: 1000, sourceFormat: "gguf", quantization: "Q8_0", context: 128,
        kvType: "f16", hidden: 64, layers: 1, experts: experts, expertsPerToken: 2, vocabulary: 100,
        hasChatTemplate: true, functions: functions, bytes: 4096 * (experts + 1))
    return ModelDraft(
        name: name, manifest: manifest,
        options: DeployRecord(expertsPerFunction: 1, layersPerFunction: 1, quantize: "", context: 0, kvType: "f16"),
        digests: (0...experts).map { [UInt8](repeating: UInt8($0 + 1 + (changed.contains($0) ? 100 : 0)), count: 32) },
        deployedAt: 1, node: "n1")
}

/// Nobody but the operator.
func noTenants() throws -> Tenants { try Tenants(store: MemoryStore(), logger: Logger(label: "test")) { 1 } }

/// A controller over `store` with a node.
func plane(
    _ store: MemoryStore = MemoryStore(), deployed: [ModelDraft] = [draft()], idle: Duration = .seconds(3600),
    tenants: Tenants? = nil, now: @escaping @Sendable () -> Moment = Controller.monotonic
) async throws -> (Controller, FakeNode) {
    for draft in deployed { _ = try store.deploy(draft) }
    var quiet = Logger(label: "test")
    quiet.logLevel = .critical
    let settings = ControlSettings(version: "test", idle: IdlePolicy(fixed: idle), lanes: 2, sequences: 2, queue: 2)
    let controller = try Controller(store: store, settings: settings, logger: quiet, tenants: tenants, now: now)
    return (controller, await FakeNode(controller))
}

// Control as its callers see it, HTTP in particular. A protocol, so that the gateway is tested without a node.
public import FunctionModel
public import Observability
public import Wire

/// All that can be asked of control.
public protocol ControlService: Sendable {
    /// What a request may reach that shows this key, or none.
    /// - Throws: `ControlFailure` `unauthorized`.
    func access(showing key: String?) throws(ControlFailure) -> Access
    /// What is left of a tenant's tokens per minute; nil where they are not limited.
    func allowance(of caller: Caller) -> TokenAllowance?
    /// Those that the caller may use, its own by the names that it gave them.
    func models(for caller: Caller) async -> [ModelSummary]
    /// - Throws: `ControlFailure` `not_found`, also for a model that the caller may not use.
    func describe(_ model: String, for caller: Caller) async throws(ControlFailure) -> ModelDescription
    /// The full name of the model that a caller means: its own of this name, else the operator's.
    /// - Throws: `ControlFailure` `not_found`, also for a model that the caller may not use.
    func find(_ model: String, for caller: Caller) async throws(ControlFailure) -> String
    func instances() async -> [InstanceReport]
    /// Returns when the processes are gone.
    func evict(_ target: String) async throws(ControlFailure) -> EvictReport
    func remove(_ model: String) async throws(ControlFailure) -> EvictReport
    /// Removes a tenant and its keys; what it has under way is finished.
    /// - Parameter withModels: removes its models first.
    /// - Throws: `ControlFailure` `in_use` when it has models and they are to stay, `not_found`, or a store's code.
    func remove(tenant: String, withModels: Bool) async throws(ControlFailure) -> TenantReport
    func status() async -> StatusReport
    func verify() async throws(ControlFailure) -> VerifyReport
    /// What was used, in order of tenant, model and key; also what was removed since.
    /// - Parameters:
    ///   - tenant: only this one's; nil: all.
    ///   - from: seconds since 1970; only hours that begin from then on, and (`to`) before then.
    func usage(tenant: String?, from: Int64?, to: Int64?) async throws(ControlFailure) -> [UsageRow]
    /// What was used in the hours of one day, for a backup; see `UsageStore.hours`.
    func usageHours(from: Int64) async throws(ControlFailure) -> [UsageHour]
    /// What was used, from a backup; see `UsageStore.merge`.
    func restore(_ hours: [UsageHour]) async throws(ControlFailure)
    /// All that the registry knows of models and tenants, as a backup's first part.
    func backup() async -> BackupIndex
    /// Starts sequences of a model by its full name, all or none; each stream ends with `finished` or `failed`, dropping it ends its sequence.
    func generate(
        _ model: String, _ specs: [GenerateSpec], for caller: Caller
    ) async throws(ControlFailure) -> [AsyncStream<RouterEvent>]
    /// What control counts and how things stand, for Prometheus.
    func metrics() async -> [MetricFamily]
    /// What happened, and what happens.
    var events: EventLog { get }
    /// What control logged, and logs.
    var logs: Feed<LogReport> { get }
    /// Administration of tenants and keys; see `Tenants`.
    var tenants: any TenantAdministration { get }
}

/// The control plane of this process.
public struct LocalControl: ControlService {
    private let controller: Controller
    private let sequences: Sequences
    private let all: Tenants
    private let metering: Metering

    public init(
        controller: Controller, sequences: Sequences, tenants: Tenants, metering: Metering,
        logs: Feed<LogReport> = Feed(most: 1)
    ) {
        (self.controller, self.sequences, all, self.metering) = (controller, sequences, tenants, metering)
        self.logs = logs
    }

    public var tenants: any TenantAdministration { all }
    public var events: EventLog { controller.events }
    public let logs: Feed<LogReport>
    public func access(showing key: String?) throws(ControlFailure) -> Access { try all.access(showing: key) }
    public func allowance(of caller: Caller) -> TokenAllowance? { all.allowance(of: caller) }
    public func models(for caller: Caller) async -> [ModelSummary] {
        all.visible(await controller.models(), to: caller)
    }
    public func find(_ model: String, for caller: Caller) async throws(ControlFailure) -> String {
        if caller == .local { return model }
        // Nothing is looked up that it may not use: what is there takes no longer than what is not.
        guard let found = await controller.first(of: all.meanings(of: model, for: caller)) else {
            throw Sequences.unknown(model)
        }
        return found
    }
    public func describe(_ model: String, for caller: Caller) async throws(ControlFailure) -> ModelDescription {
        do throws(ControlFailure) { return try await controller.describe(find(model, for: caller)) } catch {
            throw caller == .local || error.code != "not_found" ? error : Sequences.unknown(model)
        }
    }
    public func instances() async -> [InstanceReport] { await controller.instances() }
    public func evict(_ target: String) async throws(ControlFailure) -> EvictReport {
        try await controller.evict(target)
    }
    public func remove(_ model: String) async throws(ControlFailure) -> EvictReport {
        try await controller.remove(model)
    }
    public func remove(tenant name: String, withModels: Bool) async throws(ControlFailure) -> TenantReport {
        _ = try all.report(name)
        let models = await controller.models(of: name)
        guard models.isEmpty || withModels else {
            throw ControlFailure(
                code: "in_use",
                message: "tenant \(name) has models (\(models.joined(separator: ", "))); remove them with `locum rm`, "
                    + "or with the tenant: `locum tenant rm \(name) --models`")
        }
        for model in models {
            do throws(ControlFailure) { _ = try await controller.remove(model) } catch {
                // Somebody else was faster.
                guard error.code == "not_found" else { throw error }
            }
        }
        return try all.remove(name)
    }
    public func status() async -> StatusReport {
        let load = sequences.load
        return await controller.status(active: load.active, queued: load.waiting)
    }
    public func verify() async throws(ControlFailure) -> VerifyReport { try await controller.verify() }
    public func usage(tenant: String?, from: Int64?, to: Int64?) async throws(ControlFailure) -> [UsageRow] {
        try await metering.rows(tenant: tenant, from: from, to: to)
    }
    public func usageHours(from: Int64) async throws(ControlFailure) -> [UsageHour] {
        try await metering.hours(from: from)
    }
    public func restore(_ hours: [UsageHour]) async throws(ControlFailure) { try await metering.restore(hours) }
    public func backup() async -> BackupIndex { await controller.backup(all.backup, all.operatorBackup) }
    public func metrics() async -> [MetricFamily] {
        var loads = sequences.loads
        for tenant in all.reports where loads[tenant.name] == nil { loads[tenant.name] = (0, 0) }
        if loads[""] == nil { loads[""] = (0, 0) }
        let names = loads.keys.sorted()
        var rows = names.prefix(Self.mostTenants).map { ($0, loads[$0]?.active ?? 0, loads[$0]?.waiting ?? 0) }
        let rest = names.dropFirst(Self.mostTenants).compactMap { loads[$0] }
        if !rest.isEmpty {
            rows.append(
                (
                    LabelledValues<Double>.other, rest.reduce(0) { $0 + $1.active },
                    rest.reduce(0) { $0 + $1.waiting }
                ))
        }
        return await controller.metrics(sequences: rows)
    }
    /// Tenants that are told apart in gauges.
    private static let mostTenants = 200
    public func generate(
        _ model: String, _ specs: [GenerateSpec], for caller: Caller
    ) async throws(ControlFailure) -> [AsyncStream<RouterEvent>] {
        try await sequences.generate(model, specs, for: caller)
    }
}

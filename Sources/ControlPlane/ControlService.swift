// Control as its callers see it, HTTP in particular. A protocol, so that the gateway is tested without a node.
public import FunctionModel
public import Wire

/// All that can be asked of control.
public protocol ControlService: Sendable {
    func models() async -> [ModelSummary]
    func describe(_ model: String) async throws(ControlFailure) -> ModelDescription
    func instances() async -> [InstanceReport]
    /// Returns when the processes are gone.
    func evict(_ target: String) async throws(ControlFailure) -> EvictReport
    func remove(_ model: String) async throws(ControlFailure) -> EvictReport
    func status() async -> StatusReport
    func verify() async throws(ControlFailure) -> VerifyReport
    /// All that the registry knows of models, as a backup's first part.
    func backup() async -> BackupIndex
    /// Starts sequences, all or none; each stream ends with `finished` or `failed`, dropping it ends its sequence.
    func generate(_ model: String, _ specs: [GenerateSpec]) async throws(ControlFailure) -> [AsyncStream<RouterEvent>]
}

/// The control plane of this process.
public struct LocalControl: ControlService {
    private let controller: Controller
    private let sequences: Sequences

    public init(controller: Controller, sequences: Sequences) {
        (self.controller, self.sequences) = (controller, sequences)
    }

    public func models() async -> [ModelSummary] { await controller.models() }
    public func describe(_ model: String) async throws(ControlFailure) -> ModelDescription {
        try await controller.describe(model)
    }
    public func instances() async -> [InstanceReport] { await controller.instances() }
    public func evict(_ target: String) async throws(ControlFailure) -> EvictReport {
        try await controller.evict(target)
    }
    public func remove(_ model: String) async throws(ControlFailure) -> EvictReport {
        try await controller.remove(model)
    }
    public func status() async -> StatusReport {
        let load = sequences.load
        return await controller.status(active: load.active, queued: load.waiting)
    }
    public func verify() async throws(ControlFailure) -> VerifyReport { try await controller.verify() }
    public func backup() async -> BackupIndex { await controller.backup() }
    public func generate(
        _ model: String, _ specs: [GenerateSpec]
    ) async throws(ControlFailure) -> [AsyncStream<RouterEvent>] {
        try await sequences.generate(model, specs)
    }
}

// The registry in memory: what is deployed now, and what was deployed before and is still being called. A router
// that drains goes on calling the experts of its own revision, so a deployment never mixes two revisions within
// one stream; those functions are `retired` until the last router that may call them has ended.
import ControlStore
public import FunctionModel

/// Models and functions by name and id.
public struct Catalog: Sendable {
    private(set) var models: [String: ModelRecord] = [:]
    private var functions: [UInt64: FunctionRecord] = [:]
    private var byName: [String: UInt64] = [:]
    /// Of no current model; kept for routers that still call them.
    private(set) var retired: [UInt64: FunctionRecord] = [:]

    public init(_ models: [ModelRecord]) {
        for model in models { put(model) }
    }

    public var sorted: [ModelRecord] { models.values.sorted { $0.name < $1.name } }
    public func model(_ name: String) -> ModelRecord? { models[name] }
    public func function(_ id: UInt64) -> FunctionRecord? { functions[id] ?? retired[id] }
    public func function(named name: String) -> FunctionRecord? { byName[name].flatMap { functions[$0] } }

    /// What an instance of the function may invoke: a router its model's experts.
    public func callees(of function: FunctionRecord) -> [UInt64] {
        guard function.runtime == .router, let model = models[function.model] else { return [] }
        return model.functions.dropFirst().map(\.id)
    }

    /// Function and model names that resemble `name`.
    public func nearest(to name: String) -> [String] {
        name.contains("/") ? NearestNames.of(name, among: byName.keys) : NearestNames.of(name, among: models.keys)
    }

    /// Makes `model` the current revision; functions of the one before that it lacks become retired.
    public mutating func put(_ model: ModelRecord) {
        remove(model.name)
        models[model.name] = model
        for function in model.functions {
            functions[function.id] = function
            byName[function.name] = function.id
            retired[function.id] = nil
        }
    }

    /// Forgets a model; its functions become retired.
    public mutating func remove(_ name: String) {
        guard let old = models.removeValue(forKey: name) else { return }
        for function in old.functions {
            functions[function.id] = nil
            byName[function.name] = nil
            retired[function.id] = function
        }
    }

    /// Drops retired functions that are not in `needed`; answers their ids.
    public mutating func dropRetired(except needed: Set<UInt64>) -> Set<UInt64> {
        let gone = Set(retired.keys).subtracting(needed)
        for id in gone { retired[id] = nil }
        return gone
    }

    /// Digests of all shards that must stay, current and retired, each once.
    public var digests: [[UInt8]] {
        var seen: Set<[UInt8]> = []
        for function in functions.values { seen.insert(function.digest) }
        for function in retired.values { seen.insert(function.digest) }
        return seen.sorted { $0.lexicographicallyPrecedes($1) }
    }
}

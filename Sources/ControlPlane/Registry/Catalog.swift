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
    /// Routers that tenants have for themselves, by name: functions like their model's router, but for id and name.
    private var own: [String: FunctionRecord] = [:]
    private var nextOwn: UInt64 = 1 << 63

    public init(_ models: [ModelRecord]) {
        for model in models { put(model) }
    }

    public var sorted: [ModelRecord] { models.values.sorted { $0.name < $1.name } }
    public func model(_ name: String) -> ModelRecord? { models[name] }
    public func function(_ id: UInt64) -> FunctionRecord? {
        functions[id] ?? retired[id] ?? (id >> 63 == 1 ? own.values.first { $0.id == id } : nil)
    }
    public func function(named name: String) -> FunctionRecord? { byName[name].flatMap { functions[$0] } ?? own[name] }

    /// What the router of a model is called that runs a tenant's sequences alone.
    static func routerName(_ model: String, for tenant: String) -> String { "\(model)/router@\(tenant)" }

    /// Tenants' own routers that there may be; nobody but control itself names them.
    private static let mostOwn = 65_536

    /// As `function(named:)`; a tenant's own router is made when it is named first.
    mutating func resolve(_ name: String) -> FunctionRecord? {
        if let known = function(named: name) { return known }
        guard let at = name.lastIndex(of: "@"), ModelName.isValid(String(name[name.index(after: at)...])),
            var router = function(named: String(name[..<at])), router.runtime == .router, own.count < Self.mostOwn
        else { return nil }
        (router.id, router.name) = (nextOwn, name)
        nextOwn += 1
        own[name] = router
        return router
    }

    /// What an instance of the function may invoke: a router its model's experts.
    public func callees(of function: FunctionRecord) -> [UInt64] {
        guard function.runtime == .router, let model = models[function.model] else { return [] }
        return model.functions.dropFirst().map(\.id)
    }

    /// Models of a tenant, in order of name.
    func models(of owner: String) -> [ModelRecord] { sorted.filter { ModelName.owner(of: $0.name) == owner } }

    /// Function and model names that resemble `name`.
    public func nearest(to name: String) -> [String] {
        name.contains("/") ? NearestNames.of(name, among: byName.keys) : NearestNames.of(name, among: models.keys)
    }

    /// Makes `model` the current revision; functions of the one before that it lacks become retired.
    public mutating func put(_ model: ModelRecord) {
        let routers = own.filter { $0.value.model == model.name && $0.value.digest == model.functions.first?.digest }
        remove(model.name)
        models[model.name] = model
        for (name, router) in routers { (own[name], retired[router.id]) = (router, nil) }
        for function in model.functions {
            functions[function.id] = function
            byName[function.name] = function.id
            retired[function.id] = nil
        }
    }

    /// Forgets a model; its functions become retired.
    public mutating func remove(_ name: String) {
        guard let old = models.removeValue(forKey: name) else { return }
        for router in own.values where router.model == name {
            own[router.name] = nil
            retired[router.id] = router
        }
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

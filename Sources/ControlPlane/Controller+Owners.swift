// What tenants do for themselves over invoke.sock, as users of this host: they invoke experts that they may use, deploy and
// remove models of their own. Node says which user asks, and decides nothing; what is not a tenant's is to it not there.
// And what a tenant's models may take, whoever deploys them.
import ControlStore
import FunctionModel
import Scheduler
import Wire

/// A deployment that node runs.
struct PendingDeployment {
    /// With the full name.
    var options: DeployOptions
    /// The tenant that deploys; nil: the operator.
    var tenant: String?

    /// The report as whoever deploys may have it.
    func told(_ report: DeployReport) -> DeployReport {
        guard tenant != nil else { return report }
        var report = report
        report.name = ModelName.short(report.name)
        return report
    }
}

extension Controller {
    /// Tells node which users are tenants.
    /// - Parameter changed: those who may use something else than before.
    public func tellUsers(changed: [UInt32] = []) {
        guard isUp, let tenants else { return }
        send([.users(tenants.users, changed: changed)])
    }

    // MARK: Functions

    /// The expert function that a tenant names; of a model as it calls it.
    /// - Throws: `ControlFailure` `not_found`, also where it may not, and `denied` for a router.
    func function(_ name: String, for tenant: Caller) throws(ControlFailure) -> FunctionRecord {
        guard let slash = name.firstIndex(of: "/"), let tenants else { throw Self.noFunction(name) }
        let names = tenants.meanings(of: String(name[..<slash]), for: tenant)
        guard let model = first(of: names), let function = catalog.function(named: model + name[slash...]) else {
            throw Self.noFunction(name)
        }
        // Whoever is linked to a router says himself whose a sequence is and what it may cost.
        guard function.runtime == .expert else {
            throw ControlFailure(
                code: "denied",
                message: "\(name) is a router, which answers over HTTP alone; over invoke.sock you may invoke experts")
        }
        return function
    }

    /// Whether a tenant may invoke a function that it names by its number.
    func mayInvoke(_ function: FunctionRecord, _ tenant: Caller) -> Bool {
        function.runtime == .expert && tenants?.allows(tenant, function.model) == true
    }

    static func noFunction(_ name: String) -> ControlFailure {
        ControlFailure(code: "not_found", message: "there is no function \(name.prefix(200)) that you may invoke")
    }

    // MARK: Models

    /// The full name of what a tenant calls `name`; no name when it is another's.
    func ownName(_ name: String, of tenant: String) -> String {
        ModelName.owner(of: name) == tenant ? name : ModelName.full(name, of: tenant)
    }

    /// A caller on invoke.sock wants a model removed.
    func removing(_ request: UInt32, peer: UInt32, _ model: String) {
        let tenant = tenants?.caller(ofUser: peer)?.name
        let name = tenant.map { ownName(model, of: $0) } ?? model
        guard tenant == nil || catalog.model(name) != nil else {
            return send([
                .denied(
                    request: request, code: "not_found", message: "you have no model \(model.prefix(200)) to remove")
            ])
        }
        Task {
            do throws(ControlFailure) {
                _ = try await remove(name)
                send([.removed(request: request)])
            } catch {
                send([.denied(request: request, code: error.code, message: error.message)])
            }
        }
    }

    // MARK: Shares

    /// Shards of a draft that none of its owner's models had.
    func newShards(_ draft: ModelDraft, of tenant: String) -> Int {
        let known = Set(catalog.models(of: tenant).flatMap(\.functions).map(\.digest))
        return Set(draft.digests).subtracting(known).count
    }

    /// Bytes that the shards of a model of this name may have, when all else of its owner's stays.
    func room(for name: String) -> UInt64 {
        guard let owner = ModelName.owner(of: name), let disk = tenants?.limits(of: owner)?.disk else { return .max }
        return UInt64(max(0, disk - others(name, of: owner).reduce(0) { $0 + Self.bytes($1.manifest) }))
    }

    private func others(_ name: String, of owner: String) -> [ModelRecord] {
        catalog.models(of: owner).filter { $0.name != name }
    }

    private static func bytes(_ manifest: ImportManifest) -> Int { manifest.functions.reduce(0) { $0 + $1.bytes } }

    /// Memory that a model needs at least beside what the daemons take.
    private func least(_ manifest: ImportManifest) -> Int {
        MemoryCost.minimum(manifest.memoryShape(lanes: Int(settings.lanes))) - MemoryCost.daemons - MemoryCost.margin
    }

    /// - Throws: `ControlFailure` `share_exceeded` with the numbers.
    func checkShares(_ manifest: ImportManifest, name: String) throws(ControlFailure) {
        guard let owner = ModelName.owner(of: name), let limits = tenants?.limits(of: owner) else { return }
        let others = others(name, of: owner)
        for (what, option, share, need, taken) in [
            ("disk", "disk", limits.disk, Self.bytes(manifest), others.reduce(0) { $0 + Self.bytes($1.manifest) }),
            ("memory", "memory", limits.memory, least(manifest), others.reduce(0) { $0 + least($1.manifest) }),
        ] {
            guard let share, need + taken > share else { continue }
            throw ControlFailure(
                code: "share_exceeded",
                message:
                    "\(ModelName.short(name)) needs \(need) bytes of \(what), and of the \(share) that tenant \(owner) may "
                    + "have its other models take \(taken); remove one, deploy a smaller one, or have the operator give more "
                    + "(`locum tenant set \(owner) --\(option)`)")
        }
    }
}

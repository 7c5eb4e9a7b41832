// What the control plane needs from a registry: few, whole operations, each one transaction. SQLite holds it on
// one host; another store may hold it for many, so nothing here says SQL.
public import FunctionModel

/// A registry that could not do what was asked.
public struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable: `locked`, `damaged`, `newer`, `disk_full`, `io`, `no_tenant`, `in_use`, and `in_doubt`: it failed, and may be found done after
    /// a restart all the same.
    public let code: String
    public let message: String
    public init(code: String, message: String) { (self.code, self.message) = (code, message) }
    public var description: String { message }
}

/// A model as an import made it, before it has ids and a revision.
public struct ModelDraft: Sendable, Equatable {
    public var name: String
    /// Validated.
    public var manifest: ImportManifest
    public var options: DeployRecord
    /// SHA-256 of each shard, by the manifest's shard index.
    public var digests: [[UInt8]]
    /// Seconds since 1970.
    public var deployedAt: Int64
    public var node: String

    public init(
        name: String, manifest: ImportManifest, options: DeployRecord, digests: [[UInt8]], deployedAt: Int64,
        node: String
    ) {
        (self.name, self.manifest, self.options) = (name, manifest, options)
        (self.digests, self.deployedAt, self.node) = (digests, deployedAt, node)
    }
}

/// Models, their functions, the counters that make ids, tenants with their keys, and the operator's keys.
public protocol RegistryStore: Sendable {
    /// All models, in order of name.
    func models() throws(StoreError) -> [ModelRecord]
    /// Makes the draft the current revision of its name. Functions that keep their name and shard keep their
    /// id, all others get new ones. Durable when it returns.
    /// - Throws: `StoreError` `no_tenant` when its owner is not there.
    func deploy(_ draft: ModelDraft) throws(StoreError) -> ModelRecord
    /// Removes a model and its functions; false when there is none of that name. Durable when it returns.
    func remove(model: String) throws(StoreError) -> Bool
    /// All tenants, in order of name.
    func tenants() throws(StoreError) -> [TenantRecord]
    /// Makes this what is known of the tenant, its keys included. Durable when it returns.
    func write(_ tenant: TenantRecord) throws(StoreError)
    /// Removes a tenant and its keys; false when there is none of that name. Durable when it returns.
    /// - Throws: `StoreError` `in_use` when it has models.
    func remove(tenant: String) throws(StoreError) -> Bool
    /// The operator's keys, in order of id.
    func operatorKeys() throws(StoreError) -> [OperatorKey]
    /// Makes these the operator's keys, and no others. Durable when it returns.
    func write(_ keys: [OperatorKey]) throws(StoreError)
    /// Takes `count` numbers for instances that no one had or will have. Durable when it returns.
    func reserveInstances(_ count: Int) throws(StoreError) -> Range<UInt64>
}

/// Amounts of use, by hour.
public protocol UsageStore: Sendable {
    /// Adds amounts to the hour that `now` (seconds since 1970) is in: all of them or, when it throws, none. Durable when it
    /// returns.
    func add(_ amounts: [UsageKey: UsageCounts], now: Int64) throws(StoreError)
    /// Sums of the hours that begin within `from ..< to` (seconds since 1970), in order of tenant, model and key.
    /// - Parameter tenant: only this one's; nil: all.
    func sums(
        tenant: String?, from: Int64?, to: Int64?
    ) throws(StoreError) -> [(key: UsageKey, counts: UsageCounts)]
    /// All hours of the first day (24 hours from the first that there is) that begin at `from` or later; none: there are none.
    func hours(from: Int64) throws(StoreError) -> [UsageHour]
    /// Takes hours over from a backup, all or none: of an hour that is there already the greater amounts stand, so that
    /// nothing is counted twice.
    func merge(_ hours: [UsageHour]) throws(StoreError)
}

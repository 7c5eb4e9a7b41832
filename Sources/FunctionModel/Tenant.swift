// Who uses a box besides its operator: tenants, what each may use, and the keys that they show.

/// How a tenant's requests stand to others.
public enum PriorityClass: String, Codable, Sendable, CaseIterable {
    /// Somebody waits for the answer.
    case interactive
    /// Runs where there is room, and lets interactive ones pass.
    case batch
}

/// Whose sequences run on a router.
public enum RouterSharing: String, Codable, Sendable, CaseIterable {
    /// Those of all tenants that share: one process, one batch.
    case shared
    /// The tenant's alone: a process of its own for each model, over the same experts.
    case `private`
}

/// What a tenant may use.
public struct TenantLimits: Codable, Sendable, Equatable {
    /// Its share where several tenants want more than there is.
    public var weight: Int
    public var priority: PriorityClass
    /// Sequences at once over all models, a request with n choices being n; nil: as many as routers run.
    public var maxRequests: Int?
    /// Sequences that may wait.
    public var queue: Int
    /// Prompt and output tokens; what a prompt cache saves is not counted. nil: any number.
    public var tokensPerMinute: Int?
    /// Full names of models; nil: all of the operator's. What it owns it may always use.
    public var models: [String]?
    public var router: RouterSharing
    /// The user of this host (uid) who deploys and invokes for it over invoke.sock; nil: nobody.
    public var uid: Int?
    /// Bytes of all shards of its own models, each counted whole; nil: any number.
    public var disk: Int?
    /// Bytes of memory that its own models need at least, all together; nil: any number.
    public var memory: Int?
    /// Bytes of keys and values that its sequences may have at a model, what is kept of its prompts included; nil: any number.
    public var kvMemory: Int?

    enum CodingKeys: String, CodingKey {
        case weight, priority, queue, models, router, uid, disk, memory
        case maxRequests = "max_requests"
        case tokensPerMinute = "tokens_per_minute"
        case kvMemory = "kv_memory"
    }

    public static let weights = 1...1000
    public static let requests = 1...1024
    public static let queues = 0...1024
    public static let rates = 1...1_000_000_000
    public static let mostModels = 1000
    public static let uids = 1...4_294_967_294
    public static let sizes = 1...(1 << 60)
    /// Users that functions run as (Sandbox.firstWorkerUser).
    public static let workers = 0x6c6f_0000...0x6c6f_ffff

    public init(
        weight: Int = 1, priority: PriorityClass = .interactive, maxRequests: Int? = nil, queue: Int = 64,
        tokensPerMinute: Int? = nil, models: [String]? = nil, router: RouterSharing = .shared, uid: Int? = nil,
        disk: Int? = nil, memory: Int? = nil, kvMemory: Int? = nil
    ) {
        (self.uid, self.disk, self.memory, self.kvMemory) = (uid, disk, memory, kvMemory)
        self.router = router
        (self.weight, self.priority, self.maxRequests, self.queue) = (weight, priority, maxRequests, queue)
        (self.tokensPerMinute, self.models) = (tokensPerMinute, models)
    }

    /// The first value that cannot be, in words; nil when all can.
    public var fault: String? {
        func outside(_ name: String, _ value: Int?, _ range: ClosedRange<Int>) -> String? {
            guard let value, !range.contains(value) else { return nil }
            return "\(name) is \(value), it must be \(range.lowerBound) to \(range.upperBound)"
        }
        if let models, models.count > Self.mostModels {
            return "\(models.count) models are named, \(Self.mostModels) can be"
        }
        if let wrong = models?.first(where: { !ModelName.isFull($0) }) {
            return
                "'\(wrong.prefix(100))' is no model's name: \(ModelName.rule); of a tenant's model @ and the tenant's name follow"
        }
        return outside("weight", weight, Self.weights) ?? outside("max_requests", maxRequests, Self.requests)
            ?? outside("queue", queue, Self.queues) ?? outside("tokens_per_minute", tokensPerMinute, Self.rates)
            ?? outside("uid", uid, Self.uids) ?? outside("disk", disk, Self.sizes)
            ?? outside("memory", memory, Self.sizes) ?? outside("kv_memory", kvMemory, Self.sizes)
    }

    /// Whether a tenant with these limits may use a model that is not its own.
    public func allows(_ model: String) -> Bool { models?.contains(model) ?? (ModelName.owner(of: model) == nil) }
}

/// A tenant as the registry holds it.
public struct TenantRecord: Sendable, Equatable {
    public var name: String
    public var limits: TenantLimits
    /// Seconds since 1970.
    public var createdAt: Int64
    public var keys: [KeyRecord]

    public init(name: String, limits: TenantLimits, createdAt: Int64, keys: [KeyRecord] = []) {
        (self.name, self.limits, self.createdAt, self.keys) = (name, limits, createdAt, keys)
    }
}

/// A key as the registry holds it: nobody can make the key of it.
public struct KeyRecord: Sendable, Equatable {
    /// How the key begins; names it to people.
    public var id: String
    /// SHA-256 of the whole key. Keys are random, so nothing slower is needed.
    public var hash: [UInt8]
    /// Seconds since 1970.
    public var createdAt: Int64
    /// Seconds since 1970, up to a minute behind; nil: never used.
    public var lastUsed: Int64?

    public init(id: String, hash: [UInt8], createdAt: Int64, lastUsed: Int64? = nil) {
        (self.id, self.hash, self.createdAt, self.lastUsed) = (id, hash, createdAt, lastUsed)
    }
}

/// `locum tenant list --json`.
public struct TenantReport: Codable, Sendable, Equatable {
    public var name: String
    public var createdAt: Int64
    public var limits: TenantLimits
    /// Sequences that run, and that wait.
    public var active: Int
    public var waiting: Int
    public var keys: [KeyReport]

    enum CodingKeys: String, CodingKey {
        case name, limits, active, waiting, keys
        case createdAt = "created_at"
    }

    public init(_ tenant: TenantRecord, active: Int, waiting: Int) {
        (name, createdAt, limits) = (tenant.name, tenant.createdAt, tenant.limits)
        (self.active, self.waiting) = (active, waiting)
        keys = tenant.keys.map { KeyReport($0, tenant: tenant.name) }
    }
}

/// `locum key list --json`.
public struct KeyReport: Codable, Sendable, Equatable {
    public var id: String
    /// Whose it is; nil: the operator's.
    public var tenant: String?
    /// What it opens beyond its tenant's models; nil: nothing.
    public var role: OperatorRole?
    public var createdAt: Int64
    public var lastUsed: Int64?

    enum CodingKeys: String, CodingKey {
        case id, tenant, role
        case createdAt = "created_at"
        case lastUsed = "last_used"
    }

    public init(_ key: KeyRecord, tenant: String) {
        (id, self.tenant, createdAt, lastUsed) = (key.id, tenant, key.createdAt, key.lastUsed)
    }

    public init(_ key: OperatorKey) {
        (id, role, createdAt, lastUsed) = (key.key.id, key.role, key.key.createdAt, key.key.lastUsed)
    }

    /// Whose it is, or what it opens, in words.
    public var owner: String { tenant.map { "of \($0)" } ?? role.map { "(\($0.noun))" } ?? "" }
}

/// A key when it is made, the only time that it can be seen.
public struct NewKey: Codable, Sendable, Equatable {
    public var id: String
    public var key: String
    public init(id: String, key: String) { (self.id, self.key) = (id, key) }
}

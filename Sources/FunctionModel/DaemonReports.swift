// The administration API's answers about what runs: `locum ps`, `locum status`, `locum evict`, `locum verify`.
// The keys are an interface that others script against.

/// A live instance: a row of `locum ps`.
public struct InstanceReport: Codable, Sendable, Equatable {
    public var function: String
    public var model: String
    public var runtime: Runtime
    /// `ready` or `draining`.
    public var state: String
    /// As the host sees it.
    public var pid: Int
    /// Private_Dirty + Swap.
    public var privateBytes: Int
    public var shardResidentBytes: Int
    public var ageSeconds: Double
    /// Calls answered so far.
    public var invocations: Int

    enum CodingKeys: String, CodingKey {
        case function, model, runtime, state, pid, invocations
        case privateBytes = "private_bytes"
        case shardResidentBytes = "shard_resident_bytes"
        case ageSeconds = "age_seconds"
    }

    public init(
        function: String, model: String, runtime: Runtime, state: String, pid: Int, privateBytes: Int,
        shardResidentBytes: Int, ageSeconds: Double, invocations: Int
    ) {
        (self.function, self.model, self.runtime, self.state) = (function, model, runtime, state)
        (self.pid, self.privateBytes, self.shardResidentBytes) = (pid, privateBytes, shardResidentBytes)
        (self.ageSeconds, self.invocations) = (ageSeconds, invocations)
    }
}

/// Two points of a distribution, in microseconds; null when there is no value yet.
public struct Percentiles: Codable, Sendable, Equatable {
    public var p50: Int?
    public var p99: Int?

    public init(p50: Int?, p99: Int?) { (self.p50, self.p99) = (p50, p99) }

    enum CodingKeys: String, CodingKey { case p50, p99 }

    /// Written out even when null, so that a script finds the keys.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(p50, forKey: .p50)
        try container.encode(p99, forKey: .p99)
    }
}

/// How the memory budget stands: reservations, which what is used never exceeds.
public struct MemoryReport: Codable, Sendable, Equatable {
    public var budgetBytes: Int
    /// All of the following together.
    public var usedBytes: Int
    /// Of shards: in memory, on their way in or out.
    public var residentShardBytes: Int
    /// Of workers and daemons, with arenas and what the kernel keeps for them.
    public var privateBytes: Int
    /// Keys and values of sequences.
    public var kvBytes: Int

    enum CodingKeys: String, CodingKey {
        case budgetBytes = "budget_bytes"
        case usedBytes = "used_bytes"
        case residentShardBytes = "resident_shard_bytes"
        case privateBytes = "private_bytes"
        case kvBytes = "kv_bytes"
    }

    public init(budgetBytes: Int, usedBytes: Int, residentShardBytes: Int, privateBytes: Int, kvBytes: Int) {
        (self.budgetBytes, self.usedBytes, self.residentShardBytes) = (budgetBytes, usedBytes, residentShardBytes)
        (self.privateBytes, self.kvBytes) = (privateBytes, kvBytes)
    }
}

/// `locum status`: since control started.
public struct StatusReport: Codable, Sendable, Equatable {
    public var version: String
    public var node: String
    /// False while node is being started again.
    public var nodeConnected: Bool
    public var uptimeSeconds: Double
    public var models: Int
    public var instances: Int
    /// Sequences under way, and those that wait for their turn.
    public var sequencesActive: Int
    public var sequencesQueued: Int
    /// Instances started.
    public var coldStarts: Int
    /// Functions asked for that had an instance.
    public var warmAcquisitions: Int
    /// Calls and sequences that instances answered.
    public var invocations: Int
    public var evictions: Int
    /// Instances that ended unasked.
    public var crashes: Int
    /// From the request of an expert's instance until it answered its first call.
    public var coldStartMicroseconds: Percentiles
    /// The same of routers, whose first answer is a token.
    public var routerColdStartMicroseconds: Percentiles
    public var memory: MemoryReport
    /// Kernel features that hold the sandbox, and their state.
    public var sandbox: [String: String]

    enum CodingKeys: String, CodingKey {
        case version, node, models, instances, invocations, evictions, crashes, memory, sandbox
        case nodeConnected = "node_connected"
        case uptimeSeconds = "uptime_seconds"
        case sequencesActive = "sequences_active"
        case sequencesQueued = "sequences_queued"
        case coldStarts = "cold_starts"
        case warmAcquisitions = "warm_acquisitions"
        case coldStartMicroseconds = "cold_start_us"
        case routerColdStartMicroseconds = "router_cold_start_us"
    }

    public init(
        version: String, node: String, nodeConnected: Bool, uptimeSeconds: Double, models: Int, instances: Int,
        sequencesActive: Int, sequencesQueued: Int, coldStarts: Int, warmAcquisitions: Int, invocations: Int,
        evictions: Int, crashes: Int, coldStartMicroseconds: Percentiles, routerColdStartMicroseconds: Percentiles,
        memory: MemoryReport, sandbox: [String: String]
    ) {
        (self.version, self.node, self.nodeConnected) = (version, node, nodeConnected)
        (self.uptimeSeconds, self.models, self.instances) = (uptimeSeconds, models, instances)
        (self.sequencesActive, self.sequencesQueued) = (sequencesActive, sequencesQueued)
        (self.coldStarts, self.warmAcquisitions, self.invocations) = (coldStarts, warmAcquisitions, invocations)
        (self.evictions, self.crashes, self.coldStartMicroseconds) = (evictions, crashes, coldStartMicroseconds)
        (self.routerColdStartMicroseconds, self.memory) = (routerColdStartMicroseconds, memory)
        self.sandbox = sandbox
    }
}

/// Body of `POST /admin/evict`.
public struct EvictRequest: Codable, Sendable, Equatable {
    /// `--all`, a model, or a function's full name.
    public var target: String
    public init(target: String) { self.target = target }
}

/// Answer of `POST /admin/evict` and `DELETE /admin/models/{name}`: how many instances have ended.
public struct EvictReport: Codable, Sendable, Equatable {
    public var evicted: Int
    public init(evicted: Int) { self.evicted = evicted }
}

/// Answer of `POST /admin/verify`: every shard that the registry refers to, hashed again.
public struct VerifyReport: Codable, Sendable, Equatable {
    public struct Damage: Codable, Sendable, Equatable {
        public var digest: String
        /// Full names of the functions that use the shard.
        public var functions: [String]
        public var message: String
        public init(digest: String, functions: [String], message: String) {
            (self.digest, self.functions, self.message) = (digest, functions, message)
        }
    }
    public var shards: Int
    public var intact: Int
    public var damaged: [Damage]
    /// Intact, in an earlier layout than this Locum reads: no function of theirs can start.
    public var older: [Damage]
    public init(shards: Int, damaged: [Damage], older: [Damage]) {
        (self.shards, self.damaged, self.older) = (shards, damaged, older)
        intact = shards - damaged.count - older.count
    }
}

/// Every error's body, in OpenAI's form.
public struct ErrorBody: Codable, Sendable, Equatable {
    public struct Inner: Codable, Sendable, Equatable {
        public var message: String
        public var type: String
        public var param: String?
        public var code: String?

        public init(message: String, type: String, param: String?, code: String?) {
            (self.message, self.type, self.param, self.code) = (message, type, param, code)
        }

        enum CodingKeys: String, CodingKey { case message, type, param, code }

        /// `param` and `code` are written out even when null, as OpenAI does.
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(message, forKey: .message)
            try container.encode(type, forKey: .type)
            try container.encode(param, forKey: .param)
            try container.encode(code, forKey: .code)
        }
    }
    public var error: Inner
    public init(error: Inner) { self.error = error }
}

/// `locum repair`.
public struct RepairReport: Codable, Sendable, Equatable {
    public struct Loss: Codable, Sendable, Equatable {
        /// A model's name, `tenant NAME`, or `key ID` of the operator.
        public var model: String
        public var reason: String
        public init(model: String, reason: String) { (self.model, self.reason) = (model, reason) }
    }
    /// What was wrong; nil: nothing, and nothing was changed.
    public var damage: String?
    /// What is there now: names of models, `tenant NAME`, and `key ID` of the operator.
    public var saved: [String]
    /// Models that have to be deployed again or restored, and tenants that have to be made again.
    public var lost: [Loss]
    /// Where the damaged registry lies.
    public var aside: String?
    /// A tenant without a key that keeps the HTTP API closed, as it cannot be told who might use it; nil: there is none.
    public var closed: String?

    public init(damage: String?, saved: [String], lost: [Loss], aside: String?, closed: String?) {
        (self.damage, self.saved, self.lost, self.aside, self.closed) = (damage, saved, lost, aside, closed)
    }
}

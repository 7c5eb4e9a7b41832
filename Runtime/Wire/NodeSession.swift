// The session between control (policy) and a node (privilege), over a stream socket with 32-bit length
// prefixes, so that it can one day cross hosts. Node ids are in it from the start. Control decides; node
// does and reports. When the session ends, node ends every instance: in doubt, zero.

/// Control to node.
public enum NodeCommand: WireMessage, Equatable {
    /// Starts an instance. Answered by `ready` or `exited`.
    case spawn(InstanceSpec)
    /// Drain, then (after `graceMilliseconds`) kill. Answered by `exited`.
    case evict(instances: [UInt64], graceMilliseconds: UInt32)
    /// Answered by `usage`.
    case report(request: UInt32)
    /// Answer to `acquire`: the functions behind the caller's names (or callees), in order. Control has sent a
    /// `spawn` for each that had no instance; node links them as they become ready.
    case granted(request: UInt32, functions: [UInt64])
    case denied(request: UInt32, code: String, message: String)
    /// Answer to `imported`: the registry has it; `json` goes to the CLI.
    case committed(deployment: UInt32, json: String)
    case rejected(deployment: UInt32, code: String, message: String)
    /// The digests that the registry refers to, in parts; after `last`, node removes all others (unless a
    /// deployment is under way: then when it ends).
    case retain(digests: [[UInt8]], last: Bool)
    /// The deployment may start. `probe`: its name is in use. `sealed`: whoever deploys is neither told of shards that are
    /// stored nor given them; it writes all of them. `room`: bytes that they may have together. Answer to `deploying`.
    case mayDeploy(deployment: UInt32, probe: Bool, sealed: Bool, room: UInt64)
    /// Answer to `planned`: what it will make may be written.
    case mayWrite(deployment: UInt32)
    /// Hash the stored shard again. Answered by `verified`.
    case verify(request: UInt32, digest: [UInt8])
    /// Users (uids) who may connect to invoke.sock, for whom control decides each request; of `changed` what they may do
    /// has changed: their connections end, and the instances that they were linked to.
    case users([UInt32], changed: [UInt32])
    /// Answer to `removing`: it is done.
    case removed(request: UInt32)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .spawn(let spec): w.byte(1); spec.encode(into: &w)
        case .evict(let instances, let grace): w.byte(2); w.integers(instances); w.integer(grace)
        case .report(let request): w.byte(3); w.integer(request)
        case .granted(let request, let functions): w.byte(4); w.integer(request); w.integers(functions)
        case .denied(let request, let code, let message):
            w.byte(5); w.integer(request); w.string(code); w.string(message)
        case .committed(let deployment, let json): w.byte(6); w.integer(deployment); w.string(json)
        case .rejected(let deployment, let code, let message):
            w.byte(7); w.integer(deployment); w.string(code); w.string(message)
        case .retain(let digests, let last): w.byte(8); w.list(digests) { $0.blob($1) }; w.flag(last)
        case .mayDeploy(let deployment, let probe, let sealed, let room):
            w.byte(9); w.integer(deployment); w.flag(probe); w.flag(sealed); w.integer(room)
        case .verify(let request, let digest): w.byte(10); w.integer(request); w.blob(digest)
        case .users(let users, let changed): w.byte(11); w.integers(users); w.integers(changed)
        case .removed(let request): w.byte(12); w.integer(request)
        case .mayWrite(let deployment): w.byte(13); w.integer(deployment)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .spawn(try InstanceSpec(from: &r))
        case 2: self = .evict(instances: try r.integers(), graceMilliseconds: try r.integer())
        case 3: self = .report(request: try r.integer())
        case 4: self = .granted(request: try r.integer(), functions: try r.integers())
        case 5: self = .denied(request: try r.integer(), code: try r.string(), message: try r.string())
        case 6: self = .committed(deployment: try r.integer(), json: try r.string())
        case 7: self = .rejected(deployment: try r.integer(), code: try r.string(), message: try r.string())
        case 8:
            self = .retain(
                digests: try r.list(minimum: 4) { r throws(WireError) in try r.blob() }, last: try r.flag())
        case 9:
            self = .mayDeploy(
                deployment: try r.integer(), probe: try r.flag(), sealed: try r.flag(), room: try r.integer())
        case 10: self = .verify(request: try r.integer(), digest: try r.blob())
        case 11: self = .users(try r.integers(), changed: try r.integers())
        case 12: self = .removed(request: try r.integer())
        case 13: self = .mayWrite(deployment: try r.integer())
        case let tag: throw r.failure("unknown command \(tag)")
        }
    }
}

/// What hashing a stored shard has come to.
public enum ShardCondition: UInt8, Sendable {
    case intact = 0
    /// Set aside: its bytes are not those of its name, or cannot be read.
    case damaged = 1
    /// Intact, in an earlier layout than this Locum reads.
    case older = 2
}

/// Node to control.
public enum NodeEvent: WireMessage, Equatable {
    /// First message: who this is and which kernel features hold its sandbox (name, state).
    case hello(node: String, features: [Feature])
    /// A caller needs functions: by name (a connection on invoke.sock, `peer` its uid), or the callees of
    /// instance `caller` that have no live instance. `behalf`: the HTTP requests that want them, as the caller says.
    /// Answered by `granted` or `denied`.
    case acquire(
        request: UInt32, caller: UInt64, peer: UInt32, names: [String], functions: [UInt64], behalf: [RequestID] = [])
    case ready(instance: UInt64, pid: UInt32, spawnMicroseconds: UInt32)
    /// An instance ended (or never came up: `reason` says why). `evicted`: node was told to end it.
    case exited(instance: UInt64, status: Int32, evicted: Bool, reason: String, InstanceUsage)
    case usage(request: UInt32, [InstanceUsage])
    /// A CLI asks to deploy. Answered by `mayDeploy` or `rejected`.
    case deploying(deployment: UInt32, peer: UInt32, DeployOptions)
    /// What an import will make, before it writes the first shard: the manifest. Answered by `mayWrite` or `rejected`.
    case planned(deployment: UInt32, manifest: [UInt8])
    /// An import ended well: the manifest, and the digest of each shard in order of index; how many were written, and what
    /// all have together (0 in a dry run).
    case imported(deployment: UInt32, manifest: [UInt8], digests: [[UInt8]], written: UInt32, bytes: UInt64)
    /// A caller asks to remove a model. Answered by `removed` or `denied`.
    case removing(request: UInt32, peer: UInt32, model: String)
    case verified(request: UInt32, ShardCondition, message: String)
    /// Sent before each `usage`: how many functions node has linked from live instances without asking control,
    /// since the session began.
    case warm(acquisitions: UInt64)
    /// Sent after `hello` and before each `usage`.
    case memory(MemoryUsage)
    /// Sent before each `usage`: what routers' guesses have come to.
    case predictions([PredictionUsage])
    /// Idle instances whose memory others need. Control has them ended, unless it knows better.
    case superfluous(instances: [UInt64])
    /// An instance's shard cannot be read, or is damaged; its end is reported as always.
    case faulty(instance: UInt64)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .hello(let node, let features): w.byte(1); w.string(node); w.messages(features)
        case .acquire(let request, let caller, let peer, let names, let functions, let behalf):
            w.byte(2); w.integer(request); w.integer(caller); w.integer(peer)
            w.list(names) { $0.string($1) }; w.integers(functions); w.messages(behalf)
        case .ready(let instance, let pid, let spawn):
            w.byte(3); w.integer(instance); w.integer(pid); w.integer(spawn)
        case .exited(let instance, let status, let evicted, let reason, let usage):
            w.byte(4); w.integer(instance); w.integer(status); w.flag(evicted); w.string(reason)
            usage.encode(into: &w)
        case .usage(let request, let usage): w.byte(5); w.integer(request); w.messages(usage)
        case .deploying(let deployment, let peer, let options):
            w.byte(6); w.integer(deployment); w.integer(peer); options.encode(into: &w)
        case .imported(let deployment, let manifest, let digests, let written, let bytes):
            w.byte(7); w.integer(deployment); w.blob(manifest); w.list(digests) { $0.blob($1) }; w.integer(written)
            w.integer(bytes)
        case .planned(let deployment, let manifest): w.byte(14); w.integer(deployment); w.blob(manifest)
        case .removing(let request, let peer, let model):
            w.byte(15); w.integer(request); w.integer(peer); w.string(model)
        case .verified(let request, let condition, let message):
            w.byte(8); w.integer(request); w.byte(condition.rawValue); w.string(message)
        case .warm(let acquisitions): w.byte(9); w.integer(acquisitions)
        case .memory(let usage): w.byte(10); usage.encode(into: &w)
        case .predictions(let usage): w.byte(11); w.messages(usage)
        case .superfluous(let instances): w.byte(12); w.integers(instances)
        case .faulty(let instance): w.byte(13); w.integer(instance)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .hello(node: try r.string(), features: try r.messages())
        case 2:
            self = .acquire(
                request: try r.integer(), caller: try r.integer(), peer: try r.integer(), names: try r.strings(),
                functions: try r.integers(), behalf: try r.requestIDs())
        case 3: self = .ready(instance: try r.integer(), pid: try r.integer(), spawnMicroseconds: try r.integer())
        case 4:
            self = .exited(
                instance: try r.integer(), status: try r.integer(), evicted: try r.flag(), reason: try r.string(),
                try InstanceUsage(from: &r))
        case 5: self = .usage(request: try r.integer(), try r.messages())
        case 6:
            self = .deploying(deployment: try r.integer(), peer: try r.integer(), try DeployOptions(from: &r))
        case 7:
            self = .imported(
                deployment: try r.integer(), manifest: try r.blob(),
                digests: try r.list(minimum: 4) { r throws(WireError) in try r.blob() }, written: try r.integer(),
                bytes: try r.integer())
        case 8:
            let request: UInt32 = try r.integer()
            guard let condition = ShardCondition(rawValue: try r.byte()) else { throw r.failure("unknown condition") }
            self = .verified(request: request, condition, message: try r.string())
        case 9: self = .warm(acquisitions: try r.integer())
        case 10: self = .memory(try MemoryUsage(from: &r))
        case 11: self = .predictions(try r.messages())
        case 12: self = .superfluous(instances: try r.integers())
        case 13: self = .faulty(instance: try r.integer())
        case 14: self = .planned(deployment: try r.integer(), manifest: try r.blob())
        case 15: self = .removing(request: try r.integer(), peer: try r.integer(), model: try r.string())
        case let tag: throw r.failure("unknown event \(tag)")
        }
    }
}

/// A kernel feature and whether it is in force, for `locum status` ("landlock": "abi 4" or "absent: …").
public struct Feature: WireMessage, Equatable {
    public var name: String
    public var state: String

    public init(name: String, state: String) { (self.name, self.state) = (name, state) }
    public func encode(into w: inout WireWriter) { w.string(name); w.string(state) }
    public init(from r: inout WireReader) throws(WireError) {
        name = try r.string()
        state = try r.string()
    }
}

/// What node needs to start an instance.
public struct InstanceSpec: WireMessage, Equatable {
    /// Unique for the life of the registry.
    public var instance: UInt64
    public var function: UInt64
    /// For messages and process names.
    public var name: String
    public var runtime: FunctionRuntime
    /// SHA-256 of its shard.
    public var digest: [UInt8]
    public var lanes: UInt8
    /// Functions that it may invoke, in the order of its own indices; a router's experts.
    public var callees: [UInt64]
    /// Most sequences at once (router).
    public var sequences: UInt16
    /// Most functions that it may call at once (router), so that what they need together is there; 0: any number.
    public var functionsAtOnce: UInt16
    /// First layer of its experts: its place in the order in which a token's calls come.
    public var layer: UInt16
    /// Bytes of the memory budget that the process takes at most beside its shard and the sequences.
    public var overhead: UInt64
    /// Bytes that its callees need at least for one layer (router): what sequences may never take away.
    public var workingSet: UInt64
    /// Bytes of its longest sequence's keys and values (router).
    public var longestSequence: UInt64

    public init(
        instance: UInt64, function: UInt64, name: String, runtime: FunctionRuntime, digest: [UInt8], lanes: UInt8,
        callees: [UInt64] = [], sequences: UInt16 = 0, functionsAtOnce: UInt16 = 0, layer: UInt16 = 0,
        overhead: UInt64 = 0, workingSet: UInt64 = 0, longestSequence: UInt64 = 0
    ) {
        self.longestSequence = longestSequence
        self.functionsAtOnce = functionsAtOnce
        (self.instance, self.function, self.name, self.runtime) = (instance, function, name, runtime)
        (self.digest, self.lanes, self.callees, self.sequences) = (digest, lanes, callees, sequences)
        (self.layer, self.overhead, self.workingSet) = (layer, overhead, workingSet)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(instance); w.integer(function); w.string(name); w.byte(runtime.rawValue); w.blob(digest)
        w.byte(lanes); w.integers(callees); w.integer(sequences); w.integer(functionsAtOnce); w.integer(layer)
        w.integer(overhead)
        w.integer(workingSet)
        w.integer(longestSequence)
    }

    public init(from r: inout WireReader) throws(WireError) {
        instance = try r.integer()
        function = try r.integer()
        name = try r.string()
        guard let runtime = FunctionRuntime(rawValue: try r.byte()) else { throw r.failure("unknown runtime") }
        self.runtime = runtime
        digest = try r.blob()
        lanes = try r.byte()
        callees = try r.integers()
        sequences = try r.integer()
        functionsAtOnce = try r.integer()
        layer = try r.integer()
        overhead = try r.integer()
        workingSet = try r.integer()
        longestSequence = try r.integer()
    }
}

/// How a node's memory budget stands, in bytes.
public struct MemoryUsage: WireMessage, Equatable {
    public var budget: UInt64
    /// Reserved in all, the following included.
    public var used: UInt64
    /// Of shards: in memory, on their way in or on their way out.
    public var shards: UInt64
    /// Of processes, their arenas and what the kernel keeps for them: workers, and the daemons themselves.
    public var processes: UInt64
    /// Of sequences: keys and values.
    public var sequences: UInt64

    public init(budget: UInt64 = 0, used: UInt64 = 0, shards: UInt64 = 0, processes: UInt64 = 0, sequences: UInt64 = 0)
    {
        (self.budget, self.used, self.shards) = (budget, used, shards)
        (self.processes, self.sequences) = (processes, sequences)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(budget); w.integer(used); w.integer(shards); w.integer(processes); w.integer(sequences)
    }

    public init(from r: inout WireReader) throws(WireError) {
        budget = try r.integer()
        used = try r.integer()
        shards = try r.integer()
        processes = try r.integer()
        sequences = try r.integer()
    }
}

/// What the guesses of a model's routers have come to, since node started.
public struct PredictionUsage: WireMessage, Equatable {
    public var model: String
    /// Off: it has not paid lately, and is tried now and then.
    public var isOn: Bool
    /// Shards that were guessed; of those called when they were read, or being read; called by nobody.
    public var issued, used, late, wasted: UInt64
    public var bytesRead, bytesWasted: UInt64
    /// Waiting that was saved, and the disk's time that was spent for nothing.
    public var microsecondsSaved, microsecondsLost: UInt64

    public init(
        model: String, isOn: Bool, issued: UInt64, used: UInt64, late: UInt64, wasted: UInt64, bytesRead: UInt64,
        bytesWasted: UInt64, microsecondsSaved: UInt64, microsecondsLost: UInt64
    ) {
        (self.model, self.isOn, self.issued, self.used) = (model, isOn, issued, used)
        (self.late, self.wasted, self.bytesRead, self.bytesWasted) = (late, wasted, bytesRead, bytesWasted)
        (self.microsecondsSaved, self.microsecondsLost) = (microsecondsSaved, microsecondsLost)
    }

    public func encode(into w: inout WireWriter) {
        w.string(model); w.flag(isOn)
        for number in [issued, used, late, wasted, bytesRead, bytesWasted, microsecondsSaved, microsecondsLost] {
            w.integer(number)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        model = try r.string()
        isOn = try r.flag()
        issued = try r.integer()
        used = try r.integer()
        late = try r.integer()
        wasted = try r.integer()
        bytesRead = try r.integer()
        bytesWasted = try r.integer()
        microsecondsSaved = try r.integer()
        microsecondsLost = try r.integer()
    }
}

/// What an instance has used so far, read from its status page and /proc without waking it.
public struct InstanceUsage: WireMessage, Equatable {
    public var instance: UInt64
    public var invocations: UInt64
    public var rows: UInt64
    /// Since it last answered (or became ready), in milliseconds.
    public var idleMilliseconds: UInt64
    /// Calls or sequences under way.
    public var active: UInt32
    /// From the request of this instance until its first answer; 0 before that.
    public var coldStartMicroseconds: UInt32
    /// Private_Dirty + Swap, and resident bytes of its shard; 0 in `exited`.
    public var privateBytes: UInt64
    public var shardResidentBytes: UInt64
    /// Pss + SwapPss: its share of all that it maps, its shard included; 0 in `exited`.
    public var proportionalBytes: UInt64

    public init(
        instance: UInt64, invocations: UInt64 = 0, rows: UInt64 = 0, idleMilliseconds: UInt64 = 0, active: UInt32 = 0,
        coldStartMicroseconds: UInt32 = 0, privateBytes: UInt64 = 0, shardResidentBytes: UInt64 = 0,
        proportionalBytes: UInt64 = 0
    ) {
        self.proportionalBytes = proportionalBytes
        (self.instance, self.invocations, self.rows) = (instance, invocations, rows)
        (self.idleMilliseconds, self.active) = (idleMilliseconds, active)
        self.coldStartMicroseconds = coldStartMicroseconds
        (self.privateBytes, self.shardResidentBytes) = (privateBytes, shardResidentBytes)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(instance); w.integer(invocations); w.integer(rows); w.integer(idleMilliseconds); w.integer(active)
        w.integer(coldStartMicroseconds); w.integer(privateBytes); w.integer(shardResidentBytes)
        w.integer(proportionalBytes)
    }

    public init(from r: inout WireReader) throws(WireError) {
        instance = try r.integer()
        invocations = try r.integer()
        rows = try r.integer()
        idleMilliseconds = try r.integer()
        active = try r.integer()
        coldStartMicroseconds = try r.integer()
        privateBytes = try r.integer()
        shardResidentBytes = try r.integer()
        proportionalBytes = try r.integer()
    }
}

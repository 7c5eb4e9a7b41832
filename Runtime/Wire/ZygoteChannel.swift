// What node and the zygote say to each other: start this instance, it has ended. Seqpacket, descriptors beside.

/// Node to zygote.
public enum ZygoteCommand: WireMessage, Equatable {
    /// Forks an instance. Descriptors: its channel to node, its shard (read-only), its status page (writable).
    case spawn(SpawnOrder)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .spawn(let order): w.byte(1); order.encode(into: &w)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .spawn(try SpawnOrder(from: &r))
        case let tag: throw r.failure("unknown zygote command \(tag)")
        }
    }
}

/// One instance to fork.
public struct SpawnOrder: WireMessage, Equatable {
    public var instance: UInt64
    /// Shown as the process name (15 bytes are).
    public var name: String
    public var runtime: FunctionRuntime
    /// One lane per CPU listed; lane i is pinned to cpus[i].
    public var cpus: [UInt32]
    /// Uid and gid of its own; 0: stay what the user namespace made of the zygote.
    public var uid: UInt32
    /// Length of the shard file in bytes.
    public var shardBytes: UInt64
    /// Most sequences at once (router).
    public var sequences: UInt16
    /// Most functions that it may call at once (router); 0: any number.
    public var functionsAtOnce: UInt16
    /// Bytes of private memory that the kernel lets it have (RLIMIT_DATA).
    public var mostPrivate: UInt64

    public init(
        instance: UInt64, name: String, runtime: FunctionRuntime, cpus: [UInt32], uid: UInt32, shardBytes: UInt64,
        sequences: UInt16, functionsAtOnce: UInt16 = 0, mostPrivate: UInt64 = .max
    ) {
        (self.functionsAtOnce, self.mostPrivate) = (functionsAtOnce, mostPrivate)
        (self.instance, self.name, self.runtime, self.cpus) = (instance, name, runtime, cpus)
        (self.uid, self.shardBytes, self.sequences) = (uid, shardBytes, sequences)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(instance); w.string(name); w.byte(runtime.rawValue); w.integers(cpus); w.integer(uid)
        w.integer(shardBytes); w.integer(sequences); w.integer(functionsAtOnce); w.integer(mostPrivate)
    }

    public init(from r: inout WireReader) throws(WireError) {
        instance = try r.integer()
        name = try r.string()
        guard let runtime = FunctionRuntime(rawValue: try r.byte()) else { throw r.failure("unknown runtime") }
        self.runtime = runtime
        cpus = try r.integers()
        uid = try r.integer()
        shardBytes = try r.integer()
        sequences = try r.integer()
        functionsAtOnce = try r.integer()
        mostPrivate = try r.integer()
    }
}

/// Zygote to node.
public enum ZygoteEvent: WireMessage, Equatable {
    /// Ready to fork; what of the sandbox is in force.
    case started(features: [Feature])
    /// Forked. Descriptor: a pidfd.
    case spawned(instance: UInt64)
    /// Not forked: stage and errno.
    case failed(instance: UInt64, stage: String, errno: Int32)
    /// Ended, with its wait status. Comes exactly once per `spawned`.
    case exited(instance: UInt64, status: Int32)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .started(let features): w.byte(1); w.messages(features)
        case .spawned(let instance): w.byte(2); w.integer(instance)
        case .failed(let instance, let stage, let errno):
            w.byte(3); w.integer(instance); w.string(stage); w.integer(errno)
        case .exited(let instance, let status): w.byte(4); w.integer(instance); w.integer(status)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .started(features: try r.messages())
        case 2: self = .spawned(instance: try r.integer())
        case 3: self = .failed(instance: try r.integer(), stage: try r.string(), errno: try r.integer())
        case 4: self = .exited(instance: try r.integer(), status: try r.integer())
        case let tag: throw r.failure("unknown zygote event \(tag)")
        }
    }
}

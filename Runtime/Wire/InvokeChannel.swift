// The one way to invoke a function: what a caller and node say to each other, on a connection to
// `invoke.sock` (CLI, gateway) and on the channel that a router function is born with. A worker's channel
// carries the same events. Descriptors travel beside the frames (SCM_RIGHTS), in the order stated.

/// What a caller or worker sends to node.
public enum InvokeRequest: WireMessage, Equatable {
    /// Links to functions by full name (`model/L00-E003`), on invoke.sock. `behalf`: the HTTP requests that want them, for the
    /// log; here and below.
    case acquireNamed(request: UInt32, functions: [String], behalf: [RequestID] = [])
    /// Links to functions by their index in the router's own list of callees: all that a router may name.
    case acquire(request: UInt32, callees: [UInt32], behalf: [RequestID] = [])
    /// The links of one `links` event have been taken over; node sends the next ones.
    case taken(request: UInt32)
    /// The caller has closed these links (or found them closed). `faulty`: because what came over them was wrong or did
    /// not come; node ends their instances.
    case released(links: [UInt64], faulty: Bool)
    /// Worker: sandbox closed, function mapped, ready for links. `width`: length of its rows; `experts`: how
    /// many local experts it has (0 for a router).
    case ready(width: UInt32, experts: UInt32)
    /// Worker: the links of one `accept` event are being served.
    case accepted
    /// Worker: it could not start; node reports the reason to whoever waits.
    case failed(code: String, message: String)
    /// Worker: a call waits for its shard, of which node has taken the pages (or not yet given room for them).
    case need
    /// Worker: the shard is in memory; how long reading it took.
    case loaded(nanoseconds: UInt64)
    /// Worker: it has let go of the shard's pages.
    case dropped
    /// Worker: node wanted the shard's pages back, but a call came first.
    case kept
    /// Worker: the shard cannot be read.
    case unreadable(errno: Int32)
    /// Router: room for a sequence's keys and values. Answered by `reserved` or `failed`, in order.
    case reserve(request: UInt32, bytes: UInt64)
    /// Router: room that was reserved is free again.
    case unreserve(bytes: UInt64)
    /// Router: of what is reserved for its sequences it keeps this much, in all, for requests to come; see `reclaim`.
    case spare(bytes: UInt64)
    /// Router: these callees are likely to be called next.
    case prefetch(callees: [UInt32])
    /// CLI: import a model. Source descriptors travel beside it, in the order of `files`, in several
    /// messages of at most 253 (each with the same fields but its own part of `files`, `more` true but in the last).
    case deploy(DeployOptions, files: [String], more: Bool)
    /// CLI: remove a model. Answered by `removed` or `failed`.
    case remove(request: UInt32, model: String)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .acquireNamed(let request, let functions, let behalf):
            w.byte(1); w.integer(request); w.list(functions) { $0.string($1) }; w.messages(behalf)
        case .acquire(let request, let callees, let behalf):
            w.byte(2); w.integer(request); w.integers(callees); w.messages(behalf)
        case .taken(let request): w.byte(3); w.integer(request)
        case .released(let links, let faulty): w.byte(4); w.integers(links); w.flag(faulty)
        case .ready(let width, let experts): w.byte(5); w.integer(width); w.integer(experts)
        case .accepted: w.byte(6)
        case .failed(let code, let message): w.byte(7); w.string(code); w.string(message)
        case .need: w.byte(9)
        case .loaded(let nanoseconds): w.byte(10); w.integer(nanoseconds)
        case .dropped: w.byte(11)
        case .kept: w.byte(16)
        case .unreadable(let errno): w.byte(12); w.integer(errno)
        case .reserve(let request, let bytes): w.byte(13); w.integer(request); w.integer(bytes)
        case .unreserve(let bytes): w.byte(14); w.integer(bytes)
        case .prefetch(let callees): w.byte(15); w.integers(callees)
        case .spare(let bytes): w.byte(17); w.integer(bytes)
        case .deploy(let options, let files, let more):
            w.byte(8); options.encode(into: &w); w.list(files) { $0.string($1) }; w.flag(more)
        case .remove(let request, let model): w.byte(18); w.integer(request); w.string(model)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1:
            self = .acquireNamed(request: try r.integer(), functions: try r.strings(), behalf: try r.requestIDs())
        case 2: self = .acquire(request: try r.integer(), callees: try r.integers(), behalf: try r.requestIDs())
        case 3: self = .taken(request: try r.integer())
        case 4: self = .released(links: try r.integers(), faulty: try r.flag())
        case 5: self = .ready(width: try r.integer(), experts: try r.integer())
        case 6: self = .accepted
        case 7: self = .failed(code: try r.string(), message: try r.string())
        case 8: self = .deploy(try DeployOptions(from: &r), files: try r.strings(), more: try r.flag())
        case 9: self = .need
        case 10: self = .loaded(nanoseconds: try r.integer())
        case 11: self = .dropped
        case 12: self = .unreadable(errno: try r.integer())
        case 13: self = .reserve(request: try r.integer(), bytes: try r.integer())
        case 14: self = .unreserve(bytes: try r.integer())
        case 15: self = .prefetch(callees: try r.integers())
        case 16: self = .kept
        case 17: self = .spare(bytes: try r.integer())
        case 18: self = .remove(request: try r.integer(), model: try r.string())
        case let tag: throw r.failure("unknown request \(tag)")
        }
    }
}

/// What node sends to a caller or worker.
public enum InvokeEvent: WireMessage, Equatable {
    /// Caller: links, at most 64. Descriptors: if `requestArena` > 0 the caller's request arena (writable, of
    /// that many bytes; once per connection, before its first link), then per grant its lanes' sockets and
    /// the callee's reply arena (read-only). `last`: the request is complete.
    case links(request: UInt32, requestArena: UInt64, [LinkGrant], last: Bool)
    /// Caller: the request failed as a whole; links granted before stay valid. `code` is stable.
    case failed(request: UInt32, code: String, message: String)
    /// Caller: these links' instances are gone or leaving; close them.
    case revoked(links: [UInt64])
    /// Worker: new callers. Descriptors: per link its lanes' sockets, the caller's request arena (read-only),
    /// the reply arena (writable).
    case accept([LinkOffer])
    /// Worker: finish what is under way, refuse the rest, leave.
    case drain
    /// Worker: the word on its status page has changed; see what it asks for.
    case settle
    /// Router: whether to say what is likely to be called next; it does at first.
    case hints(on: Bool)
    /// Router: room was reserved.
    case reserved(request: UInt32)
    /// Router: give back what you keep for requests to come, at least so much.
    case reclaim(bytes: UInt64)
    /// CLI: how far a deployment is.
    case deploying(stage: String, done: UInt64, total: UInt64)
    /// CLI: what a deployment would make, in parts: the import's manifest as JSON.
    case planned(part: [UInt8], last: Bool)
    /// CLI: it is done; a JSON object for the person (`name`, `revision`, `functions`, `shards_written`, …).
    case deployed(json: String)
    /// CLI: the model is removed.
    case removed(request: UInt32)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .links(let request, let arena, let grants, let last):
            w.byte(1); w.integer(request); w.integer(arena); w.messages(grants); w.flag(last)
        case .failed(let request, let code, let message):
            w.byte(2); w.integer(request); w.string(code); w.string(message)
        case .revoked(let links): w.byte(3); w.integers(links)
        case .accept(let offers): w.byte(4); w.messages(offers)
        case .drain: w.byte(5)
        case .planned(let part, let last): w.byte(11); w.blob(part); w.flag(last)
        case .settle: w.byte(8)
        case .reserved(let request): w.byte(9); w.integer(request)
        case .hints(let on): w.byte(10); w.flag(on)
        case .reclaim(let bytes): w.byte(12); w.integer(bytes)
        case .deploying(let stage, let done, let total):
            w.byte(6); w.string(stage); w.integer(done); w.integer(total)
        case .deployed(let json): w.byte(7); w.string(json)
        case .removed(let request): w.byte(13); w.integer(request)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1:
            self = .links(
                request: try r.integer(), requestArena: try r.integer(), try r.messages(), last: try r.flag())
        case 2: self = .failed(request: try r.integer(), code: try r.string(), message: try r.string())
        case 3: self = .revoked(links: try r.integers())
        case 4: self = .accept(try r.messages())
        case 5: self = .drain
        case 6: self = .deploying(stage: try r.string(), done: try r.integer(), total: try r.integer())
        case 7: self = .deployed(json: try r.string())
        case 8: self = .settle
        case 9: self = .reserved(request: try r.integer())
        case 10: self = .hints(on: try r.flag())
        case 11: self = .planned(part: try r.blob(), last: try r.flag())
        case 12: self = .reclaim(bytes: try r.integer())
        case 13: self = .removed(request: try r.integer())
        case let tag: throw r.failure("unknown event \(tag)")
        }
    }
}

/// The runtimes a function can have.
public enum FunctionRuntime: UInt8, Sendable {
    case expert = 1
    case router = 2
}

/// One link handed to a caller.
public struct LinkGrant: WireMessage, Equatable {
    public var link: UInt64
    /// Position in the request's list of functions.
    public var position: UInt32
    public var instance: UInt64
    public var runtime: FunctionRuntime
    public var lanes: UInt8
    /// Bytes of the callee's reply arena.
    public var replyArena: UInt64
    /// Floats in a row, and local experts (0 for a router).
    public var width: UInt32
    public var experts: UInt32
    /// If the instance was started for this request: from the fork until it was ready, less reading its shard; and that.
    public var mapMicroseconds: UInt32
    public var readMicroseconds: UInt32
    /// Whether the instance was started for this request.
    public var isStart: Bool { mapMicroseconds > 0 || readMicroseconds > 0 }

    public init(
        link: UInt64, position: UInt32, instance: UInt64, runtime: FunctionRuntime, lanes: UInt8, replyArena: UInt64,
        width: UInt32, experts: UInt32, mapMicroseconds: UInt32 = 0, readMicroseconds: UInt32 = 0
    ) {
        (self.mapMicroseconds, self.readMicroseconds) = (mapMicroseconds, readMicroseconds)
        (self.link, self.position, self.instance, self.runtime) = (link, position, instance, runtime)
        (self.lanes, self.replyArena, self.width, self.experts) = (lanes, replyArena, width, experts)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(link); w.integer(position); w.integer(instance); w.byte(runtime.rawValue); w.byte(lanes)
        w.integer(replyArena); w.integer(width); w.integer(experts)
        w.integer(mapMicroseconds); w.integer(readMicroseconds)
    }

    public init(from r: inout WireReader) throws(WireError) {
        link = try r.integer()
        position = try r.integer()
        instance = try r.integer()
        guard let runtime = FunctionRuntime(rawValue: try r.byte()) else { throw r.failure("unknown runtime") }
        self.runtime = runtime
        lanes = try r.byte()
        replyArena = try r.integer()
        width = try r.integer()
        experts = try r.integer()
        mapMicroseconds = try r.integer()
        readMicroseconds = try r.integer()
    }
}

/// One link handed to a worker.
public struct LinkOffer: WireMessage, Equatable {
    public var link: UInt64
    public var lanes: UInt8
    public var requestArena: UInt64
    public var replyArena: UInt64

    public init(link: UInt64, lanes: UInt8, requestArena: UInt64, replyArena: UInt64) {
        (self.link, self.lanes, self.requestArena, self.replyArena) = (link, lanes, requestArena, replyArena)
    }

    public func encode(into w: inout WireWriter) {
        w.integer(link); w.byte(lanes); w.integer(requestArena); w.integer(replyArena)
    }

    public init(from r: inout WireReader) throws(WireError) {
        link = try r.integer()
        lanes = try r.byte()
        requestArena = try r.integer()
        replyArena = try r.integer()
    }
}

// Who may ask, and for how much. A key is looked up by its hash, so how long that takes says nothing of keys that there are.
// Where there is no tenant everybody may ask for everything: then only the listener's address keeps strangers out.
public import ControlStore
public import FunctionModel
public import Logging
import Scheduler
import Synchronization

/// Whose a request is.
public enum Caller: Sendable, Hashable {
    /// The operator's, or anybody's on a box without tenants.
    case local
    case tenant(String)

    var name: String {
        switch self {
        // No tenant's name.
        case .local: ""
        case .tenant(let name): name
        }
    }

    /// A number that no other caller has, for a prompt cache.
    var owner: UInt64 {
        guard self != .local else { return 0 }
        return AccessKey.hash(name).prefix(8).reduce(0) { $0 << 8 | UInt64($1) } | 1
    }
}

/// How much of a tenant's tokens per minute is left.
public struct TokenAllowance: Sendable, Equatable {
    public var limit: Int
    public var remaining: Int
    /// Until all of it is there again.
    public var reset: Duration
    public init(limit: Int, remaining: Int, reset: Duration) {
        (self.limit, self.remaining, self.reset) = (limit, remaining, reset)
    }
}

/// What an operator does with tenants and keys. A protocol for the same reason as `ControlService`.
public protocol TenantAdministration: Sendable {
    var reports: [TenantReport] { get }
    func report(_ name: String) throws(ControlFailure) -> TenantReport
    func create(_ name: String, _ limits: TenantLimits) throws(ControlFailure) -> TenantReport
    func set(_ name: String, _ edit: (inout TenantLimits) -> Void) throws(ControlFailure) -> TenantReport
    func remove(_ name: String) throws(ControlFailure) -> TenantReport
    func createKey(for name: String) throws(ControlFailure) -> NewKey
    func revokeKey(_ text: String) throws(ControlFailure) -> KeyReport
}

/// All tenants, their keys and what they use at the moment.
public final class Tenants: TenantAdministration {
    private struct State {
        var tenants: [String: TenantRecord] = [:]
        var owners: [[UInt8]: (tenant: String, key: String)] = [:]
        var buckets: [String: TokenBucket] = [:]
        var gates: [String: SequenceGate] = [:]
        /// Keys that were used since that was written down, and when.
        var used: [String: [String: Int64]] = [:]
        var isFlushing = false

        mutating func index() {
            owners = [:]
            for tenant in tenants.values { for key in tenant.keys { owners[key.hash] = (tenant.name, key.id) } }
        }
    }

    private let state: Mutex<State>
    private let store: any RegistryStore
    private let logger: Logger
    private let now: @Sendable () -> Moment
    /// Seconds since 1970.
    private let date: @Sendable () -> Int64

    /// How far behind the registry may be with when keys were used.
    private static let flushPause = Duration.seconds(60)

    /// - Throws: `StoreError` when the registry cannot be read.
    public init(
        store: any RegistryStore, logger: Logger, now: @escaping @Sendable () -> Moment = Controller.monotonic,
        date: @escaping @Sendable () -> Int64
    ) throws(StoreError) {
        (self.store, self.logger, self.now, self.date) = (store, logger, now, date)
        var state = State()
        for tenant in try store.tenants() { state.tenants[tenant.name] = tenant }
        state.index()
        self.state = Mutex(state)
    }

    // MARK: Requests

    /// Whose a request is that shows this key.
    /// - Throws: `ControlFailure` `unauthorized`.
    public func caller(showing key: String?) throws(ControlFailure) -> Caller {
        let hash = key.flatMap { $0.utf8.count <= AccessKey.longest ? AccessKey.hash($0) : nil }
        let found: Caller? = state.withLock { state in
            guard !state.tenants.isEmpty else { return .local }
            guard let hash, let owner = state.owners[hash] else { return nil }
            state.used[owner.tenant, default: [:]][owner.key] = date()
            return .tenant(owner.tenant)
        }
        guard let found else {
            throw ControlFailure(
                code: "unauthorized",
                message: key == nil
                    ? "no key was given; send it as the header 'Authorization: Bearer KEY'"
                    : "the key is not valid; the operator of this box makes keys with `locum key create`")
        }
        if case .tenant = found { flushSoon() }
        return found
    }

    /// Whether it may know of a model and use it.
    public func allows(_ caller: Caller, _ model: String) -> Bool {
        guard case .tenant(let name) = caller else { return true }
        return state.withLock { $0.tenants[name]?.limits.allows(model) ?? false }
    }

    /// What is left to it; nil where nothing is limited.
    public func allowance(of caller: Caller) -> TokenAllowance? {
        guard case .tenant(let name) = caller else { return nil }
        let now = now()
        return state.withLock { state in
            Self.bucket(of: name, &state, now).map {
                TokenAllowance(
                    limit: $0.perMinute, remaining: max(0, $0.balance(now: now)), reset: $0.untilFull(now: now))
            }
        }
    }

    /// Its share of routers.
    func share(of caller: Caller) -> FairShare {
        guard case .tenant(let name) = caller, let limits = state.withLock({ $0.tenants[name]?.limits }) else {
            return FairShare()
        }
        return FairShare(weight: limits.weight, isBatch: limits.priority == .batch)
    }

    /// Places for sequences of a request, all or none; nil where their number is not limited. Each is given back by `leave`
    /// or `abandon`.
    /// - Throws: `ControlFailure` `unauthorized`, `rate_limited` or `queue_full`.
    func admit(_ caller: Caller, sequences: Int) throws(ControlFailure) -> SequenceGate? {
        guard case .tenant(let name) = caller else { return nil }
        let now = now()
        enum Verdict {
            case gone
            case waits(Duration)
            case free(SequenceGate?)
        }
        let verdict: Verdict = state.withLock { state in
            guard let limits = state.tenants[name]?.limits else { return .gone }
            if let wait = Self.bucket(of: name, &state, now)?.wait(now: now), wait > .zero { return .waits(wait) }
            guard let most = limits.maxRequests else { return .free(nil) }
            let gate = state.gates[name] ?? SequenceGate(atOnce: most, queue: limits.queue)
            state.gates[name] = gate
            return .free(gate)
        }
        switch verdict {
        case .gone: throw ControlFailure(code: "unauthorized", message: "the tenant \(name) was removed")
        case .waits(let time):
            let seconds = Int((time / .seconds(1)).rounded(.up))
            throw ControlFailure(
                code: "rate_limited", message: "the tokens of this minute are used up; try again in \(seconds) s",
                retryAfter: seconds)
        case .free(let gate):
            guard let gate else { return nil }
            guard gate.reserve(sequences, of: "") else {
                let load = gate.load
                throw ControlFailure(
                    code: "queue_full",
                    message:
                        "\(load.active) of your requests are under way and \(load.waiting) wait, which is as many as you "
                        + "may have; try again later", retryAfter: 1)
            }
            return gate
        }
    }

    /// Tokens that were computed for it.
    func spend(_ tokens: Int, of caller: Caller) {
        guard case .tenant(let name) = caller, tokens > 0 else { return }
        let now = now()
        state.withLock { state in
            guard var bucket = Self.bucket(of: name, &state, now) else { return }
            bucket.spend(tokens, now: now)
            state.buckets[name] = bucket
        }
    }

    private static func bucket(of tenant: String, _ state: inout State, _ now: Moment) -> TokenBucket? {
        guard let rate = state.tenants[tenant]?.limits.tokensPerMinute else { return nil }
        if let bucket = state.buckets[tenant], bucket.perMinute == rate { return bucket }
        let fresh = TokenBucket(perMinute: rate, now: now)
        state.buckets[tenant] = fresh
        return fresh
    }

    // MARK: Administration

    public var reports: [TenantReport] {
        state.withLock { state in
            state.tenants.values.sorted { $0.name < $1.name }.map { tenant in
                var tenant = tenant
                for index in tenant.keys.indices {
                    if let used = state.used[tenant.name]?[tenant.keys[index].id] { tenant.keys[index].lastUsed = used }
                }
                let load = state.gates[tenant.name]?.load ?? (active: 0, waiting: 0)
                return TenantReport(tenant, active: load.active, waiting: load.waiting)
            }
        }
    }

    /// - Throws: `ControlFailure` `not_found`.
    public func report(_ name: String) throws(ControlFailure) -> TenantReport {
        guard let report = reports.first(where: { $0.name == name }) else { throw unknown(name) }
        return report
    }

    /// Makes a tenant.
    /// - Throws: `ControlFailure` `bad_request`, `exists`, or a store's code.
    public func create(_ name: String, _ limits: TenantLimits) throws(ControlFailure) -> TenantReport {
        guard ModelName.isValid(name) else {
            throw ControlFailure(
                code: "bad_request", message: "'\(name.prefix(100))' is no tenant's name: \(ModelName.rule)")
        }
        try change(name) { tenant throws(ControlFailure) in
            guard tenant == nil else {
                throw ControlFailure(
                    code: "exists", message: "there is a tenant \(name) already; `locum tenant set` changes it")
            }
            tenant = TenantRecord(name: name, limits: try Self.sound(limits), createdAt: date())
        }
        return try report(name)
    }

    /// Changes what a tenant may use; what it has under way goes on.
    /// - Throws: `ControlFailure` `not_found`, `bad_request`, or a store's code.
    public func set(_ name: String, _ edit: (inout TenantLimits) -> Void) throws(ControlFailure) -> TenantReport {
        try change(name) { tenant throws(ControlFailure) in
            guard var limits = tenant?.limits else { throw unknown(name) }
            edit(&limits)
            tenant?.limits = try Self.sound(limits)
        }
        return try report(name)
    }

    /// Removes a tenant and its keys; what it has under way is finished.
    /// - Throws: `ControlFailure` `not_found`, or a store's code.
    public func remove(_ name: String) throws(ControlFailure) -> TenantReport {
        let report = try report(name)
        try change(name) { tenant throws(ControlFailure) in
            guard tenant != nil else { throw unknown(name) }
            tenant = nil
        }
        return report
    }

    /// Makes a key.
    /// - Throws: `ControlFailure` `not_found`, or a store's code.
    public func createKey(for name: String) throws(ControlFailure) -> NewKey {
        var new: NewKey?
        try change(name) { tenant throws(ControlFailure) in
            guard tenant != nil else { throw unknown(name) }
            let (key, record) = AccessKey.make(now: date())
            tenant?.keys.append(record)
            new = NewKey(id: record.id, key: key)
        }
        guard let new else { throw unknown(name) }
        return new
    }

    /// Revokes a key by what is seen of it; the whole key will do as well.
    /// - Throws: `ControlFailure` `not_found`, or a store's code.
    public func revokeKey(_ text: String) throws(ControlFailure) -> KeyReport {
        guard let key = reports.flatMap(\.keys).first(where: { text == $0.id || text.hasPrefix($0.id) }) else {
            throw ControlFailure(
                code: "not_found",
                message: "no key begins with \(text.prefix(14)); `locum key list` shows which there are")
        }
        try change(key.tenant) { tenant throws(ControlFailure) in tenant?.keys.removeAll { $0.id == key.id } }
        return key
    }

    /// Writes down when keys were used. For the end of the process, too.
    public func flush() {
        let used = state.withLock { state in
            defer { state.used = [:] }
            return state.used
        }
        for (name, times) in used {
            do throws(ControlFailure) {
                try change(name) { tenant throws(ControlFailure) in
                    guard let keys = tenant?.keys else { return }
                    for (index, key) in keys.enumerated() {
                        if let time = times[key.id] { tenant?.keys[index].lastUsed = time }
                    }
                }
            } catch {
                logger.warning("when keys of \(name) were used could not be written down: \(error)")
            }
        }
    }

    private func flushSoon() {
        let begins = state.withLock { state in
            defer { state.isFlushing = true }
            return !state.isFlushing
        }
        guard begins else { return }
        Task {
            try? await Task.sleep(for: Self.flushPause)
            state.withLock { $0.isFlushing = false }
            flush()
        }
    }

    /// Changes a tenant in the registry first, then here.
    private func change(
        _ name: String, _ edit: (inout TenantRecord?) throws(ControlFailure) -> Void
    ) throws(ControlFailure) {
        // Held while the registry writes: two changes of a tenant follow each other.
        try state.withLock { state throws(ControlFailure) in
            let old = state.tenants[name]
            var tenant = old
            try edit(&tenant)
            guard tenant != old else { return }
            do throws(StoreError) {
                if let tenant { try store.write(tenant) } else { _ = try store.remove(tenant: name) }
            } catch {
                throw ControlFailure(code: error.code, message: error.message)
            }
            state.tenants[name] = tenant
            // Those under way keep the gate that they came through.
            if tenant?.limits != old?.limits { state.gates[name] = nil }
            if tenant == nil { (state.buckets[name], state.used[name]) = (nil, nil) }
            state.index()
        }
    }

    private static func sound(_ limits: TenantLimits) throws(ControlFailure) -> TenantLimits {
        if let fault = limits.fault { throw ControlFailure(code: "bad_request", message: fault) }
        return limits
    }

    private func unknown(_ name: String) -> ControlFailure {
        ControlFailure(
            code: "not_found",
            message: "there is no tenant \(name.prefix(100)); `locum tenant list` shows which there are")
    }
}

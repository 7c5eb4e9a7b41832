// Who may ask, and for how much. A key is looked up by its hash, so how long that takes says nothing of keys that there are.
// Where there is neither a tenant nor a key everybody may ask for everything: then only the listener's address keeps
// strangers out. The operator's keys close the API as tenants do: whoever makes one reckons with others who reach it, and one
// rule for all keys cannot be got wrong.
public import ControlStore
public import FunctionModel
import Glibc
public import Logging
import Scheduler
import Synchronization

/// Whose a request is.
public enum Caller: Sendable, Hashable {
    /// The operator's, or anybody's on a box without tenants.
    case local
    /// A tenant; its number, which no other had, nor one of the same name that was removed; and how the key begins that it has
    /// shown.
    case tenant(String, number: UInt64 = 0, key: String = "")

    public var name: String {
        switch self {
        // No tenant's name.
        case .local: ""
        case .tenant(let name, _, _): name
        }
    }

    /// What a prompt cache knows it by: what it keeps is its alone.
    var number: UInt64 {
        switch self {
        case .local: 0
        case .tenant(_, let number, _): number
        }
    }

    var key: String {
        switch self {
        case .local: ""
        case .tenant(_, _, let key): key
        }
    }
}

/// What a request may reach.
public enum Access: Sendable, Hashable {
    /// The models of this caller.
    case models(Caller)
    /// What the operator made a key for.
    case keyed(OperatorRole)
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
    func createKey(for name: String) throws(ControlFailure) -> NewKey
    func createKey(_ role: OperatorRole) throws(ControlFailure) -> NewKey
    func revokeKey(_ text: String) throws(ControlFailure) -> KeyReport
    /// Of tenants and of the operator.
    var keys: [KeyReport] { get }
    func restore(_ key: BackupIndex.Key) throws(ControlFailure) -> KeyReport
    func restore(_ tenant: BackupIndex.Tenant) throws(ControlFailure) -> TenantReport
}

/// All tenants, their keys and what they use at the moment.
public final class Tenants: TenantAdministration {
    private struct State {
        var tenants: [String: TenantRecord] = [:]
        var owners: [[UInt8]: (tenant: String, key: String)] = [:]
        var buckets: [String: TokenBucket] = [:]
        var gates: [String: SequenceGate] = [:]
        /// Drawn when a tenant appears.
        var numbers: [String: UInt64] = [:]
        /// Keys that were used since that was written down, and when.
        var used: [String: [String: Int64]] = [:]
        var isFlushing = false

        mutating func put(_ name: String, _ tenant: TenantRecord?) {
            for key in tenants[name]?.keys ?? [] { owners[key.hash] = nil }
            for key in tenant?.keys ?? [] { owners[key.hash] = (name, key.id) }
            tenants[name] = tenant
            if tenant == nil {
                (buckets[name], used[name], numbers[name]) = (nil, nil, nil)
            } else if numbers[name] == nil {
                numbers[name] = .random(in: 1 ... .max)
            }
        }

        /// Whom a caller is of; nil if not of a tenant, or of one that was removed since.
        func record(of caller: Caller) -> TenantRecord? {
            guard case .tenant(let name, let number, _) = caller, numbers[name] == number else { return nil }
            return tenants[name]
        }
    }

    private let state: Mutex<State>
    private let changes = Mutex(())
    private let whenRemoved = Mutex<@Sendable (String) -> Void>({ _ in })
    private let whenUserChanged = Mutex<@Sendable (UInt32) -> Void>({ _ in })
    private let operatorKeys: OperatorKeys
    private let store: any RegistryStore
    private let logger: Logger
    private let events: EventLog
    private let now: @Sendable () -> Moment
    /// Seconds since 1970.
    private let date: @Sendable () -> Int64

    /// How far behind the registry may be with when keys were used.
    private static let flushPause = Duration.seconds(60)

    /// - Throws: `StoreError` when the registry cannot be read.
    public init(
        store: any RegistryStore, logger: Logger, events: EventLog = EventLog(),
        now: @escaping @Sendable () -> Moment = Controller.monotonic,
        date: @escaping @Sendable () -> Int64
    ) throws(StoreError) {
        (self.store, self.logger, self.events, self.now, self.date) = (store, logger, events, now, date)
        var state = State()
        for tenant in try store.tenants() { state.put(tenant.name, tenant) }
        self.state = Mutex(state)
        operatorKeys = try OperatorKeys(store: store, date: date)
    }

    /// Calls `body` whenever a tenant was removed, with its name.
    public func onRemoval(_ body: @escaping @Sendable (String) -> Void) { whenRemoved.withLock { $0 = body } }

    /// Calls `body` whenever something of what a user may use was changed, with its uid.
    public func onUserChange(_ body: @escaping @Sendable (UInt32) -> Void) { whenUserChanged.withLock { $0 = body } }

    // MARK: Requests

    /// What a request may reach that shows this key.
    /// - Throws: `ControlFailure` `unauthorized`.
    public func access(showing key: String?) throws(ControlFailure) -> Access {
        if let role = Self.hash(key).flatMap({ operatorKeys.role(of: $0) }) {
            flushSoon()
            return .keyed(role)
        }
        return .models(try caller(showing: key))
    }

    /// Whose a request for a model is that shows this key, which is none of the operator's.
    /// - Throws: `ControlFailure` `unauthorized`.
    public func caller(showing key: String?) throws(ControlFailure) -> Caller {
        let hash = Self.hash(key)
        let found: Caller? = state.withLock { state in
            guard !(state.tenants.isEmpty && operatorKeys.isEmpty) else { return .local }
            guard let hash, let owner = state.owners[hash] else { return nil }
            state.used[owner.tenant, default: [:]][owner.key] = date()
            return .tenant(owner.tenant, number: state.numbers[owner.tenant] ?? 0, key: owner.key)
        }
        guard let found else { throw key == nil ? Self.noKey : Self.wrongKey }
        if case .tenant = found { flushSoon() }
        return found
    }

    private static func hash(_ key: String?) -> [UInt8]? {
        key.flatMap { $0.utf8.count <= AccessKey.longest ? AccessKey.hash($0) : nil }
    }

    private static let noKey = ControlFailure(
        code: "unauthorized", message: "no key was given; send it as the header 'Authorization: Bearer KEY'")
    /// The same for every key that does not open what was asked for.
    public static let wrongKey = ControlFailure(
        code: "unauthorized",
        // Clients know a wrong key by how OpenAI says it.
        message: "Incorrect API key provided; the operator of this box makes keys with `locum key create`")

    /// Whether it may know of a model and use it.
    public func allows(_ caller: Caller, _ model: String) -> Bool {
        guard caller != .local else { return true }
        guard let limits = state.withLock({ $0.record(of: caller)?.limits }) else { return false }
        return ModelName.owner(of: model) == caller.name || limits.allows(model)
    }

    /// Full names of what a tenant may mean by a model's name, its own first.
    func meanings(of model: String, for caller: Caller) -> [String] {
        [ModelName.full(model, of: caller.name), model].filter { ModelName.isFull($0) && allows(caller, $0) }
    }

    /// Of these models those that a caller may use; its own are called as it calls them, and hide others of that name.
    func visible(_ models: [ModelSummary], to caller: Caller) -> [ModelSummary] {
        guard caller != .local else { return models }
        let (own, others) = models.filter { allows(caller, $0.name) }.reduce(into: ([ModelSummary](), [ModelSummary]()))
        {
            var model = $1
            if ModelName.owner(of: model.name) == caller.name {
                model.name = ModelName.short(model.name)
                $0.0.append(model)
            } else {
                $0.1.append(model)
            }
        }
        let names = Set(own.map(\.name))
        return (own + others.filter { !names.contains($0.name) }).sorted { $0.name < $1.name }
    }

    /// Users of this host that are tenants.
    var users: [UInt32] {
        state.withLock { $0.tenants.values.compactMap { $0.limits.uid.map { UInt32(clamping: $0) } }.sorted() }
    }

    /// The tenant that a user of this host is; nil: none.
    func caller(ofUser uid: UInt32) -> Caller? {
        state.withLock { state in
            guard let tenant = state.tenants.values.first(where: { $0.limits.uid == Int(uid) }) else { return nil }
            return .tenant(tenant.name, number: state.numbers[tenant.name] ?? 0)
        }
    }

    /// What a tenant may use; nil: there is none of this name.
    func limits(of name: String) -> TenantLimits? { state.withLock { $0.tenants[name]?.limits } }

    /// Names of the tenants that may use a model, in order.
    func users(of model: String) -> [String] {
        state.withLock { state in
            state.tenants.values.filter { $0.name == ModelName.owner(of: model) || $0.limits.allows(model) }
                .map(\.name).sorted()
        }
    }

    /// Whether there is a tenant of this name.
    func has(_ name: String) -> Bool { state.withLock { $0.tenants[name] != nil } }

    /// What is left to it; nil where nothing is limited.
    public func allowance(of caller: Caller) -> TokenAllowance? {
        let now = now()
        return state.withLock { state in
            Self.bucket(of: caller, &state, now).map {
                TokenAllowance(
                    limit: $0.perMinute, remaining: max(0, $0.balance(now: now)), reset: $0.untilFull(now: now))
            }
        }
    }

    /// Its share of routers.
    func share(of caller: Caller) -> FairShare {
        guard let limits = state.withLock({ $0.record(of: caller)?.limits }) else {
            // Who was removed meanwhile comes behind all others.
            return FairShare(isBatch: caller != .local)
        }
        return FairShare(weight: limits.weight, isBatch: limits.priority == .batch)
    }

    /// Bytes of keys and values that its sequences may have at a router; 0: any number.
    func keyValueBytes(of caller: Caller) -> UInt64 {
        UInt64(clamping: state.withLock { $0.record(of: caller)?.limits.kvMemory } ?? 0)
    }

    /// The full name of the router function that runs its sequences.
    func router(of model: String, for caller: Caller) -> String {
        guard state.withLock({ $0.record(of: caller)?.limits.router }) == .private else { return "\(model)/router" }
        return Catalog.routerName(model, for: caller.name)
    }

    /// Why it may begin nothing now: `unauthorized` or `rate_limited`.
    func refusal(of caller: Caller) -> ControlFailure? {
        guard caller != .local else { return nil }
        let now = now()
        let wait: Duration? = state.withLock { state in
            // The key may have been revoked since.
            guard state.record(of: caller)?.keys.contains(where: { $0.id == caller.key }) == true else { return nil }
            return Self.bucket(of: caller, &state, now)?.wait(now: now) ?? .zero
        }
        guard let wait else { return Self.wrongKey }
        guard wait > .zero else { return nil }
        let seconds = Int((wait / .seconds(1)).rounded(.up))
        return ControlFailure(
            code: "rate_limited", message: "the tokens of this minute are used up; try again in \(seconds) s",
            retryAfter: seconds)
    }

    /// Places for sequences of a request, all or none; nil where their number is not limited. Each is given back by `leave`
    /// or `abandon`.
    /// - Throws: `ControlFailure` `unauthorized`, `rate_limited`, `queue_full`, or `bad_request` for more than it may ever have.
    func admit(_ caller: Caller, sequences: Int) throws(ControlFailure) -> SequenceGate? {
        if let refusal = refusal(of: caller) { throw refusal }
        let found: (gate: SequenceGate, most: Int)? = state.withLock { state in
            guard let limits = state.record(of: caller)?.limits, let most = limits.maxRequests else { return nil }
            let gate = state.gates[caller.name] ?? SequenceGate(atOnce: most, queue: limits.queue)
            state.gates[caller.name] = gate
            return (gate, most + limits.queue)
        }
        guard let (gate, most) = found else { return nil }
        guard sequences <= most else {
            throw ControlFailure(
                code: "bad_request",
                message: "\(sequences) sequences were asked for, and you may have \(most) that run or wait")
        }
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

    /// Tokens that were computed for it.
    func spend(_ tokens: Int, of caller: Caller) {
        guard caller != .local, tokens > 0 else { return }
        let now = now()
        state.withLock { state in
            guard var bucket = Self.bucket(of: caller, &state, now) else { return }
            bucket.spend(tokens, now: now)
            state.buckets[caller.name] = bucket
        }
    }

    private static func bucket(of caller: Caller, _ state: inout State, _ now: Moment) -> TokenBucket? {
        guard let rate = state.record(of: caller)?.limits.tokensPerMinute else { return nil }
        if let bucket = state.buckets[caller.name], bucket.perMinute == rate { return bucket }
        let fresh = TokenBucket(perMinute: rate, now: now)
        state.buckets[caller.name] = fresh
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

    public var keys: [KeyReport] { reports.flatMap(\.keys) + operatorKeys.all.map(KeyReport.init) }

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
        events.add(.tenant, name, "tenant \(name) was made")
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
        events.add(.tenant, name, "what tenant \(name) may use was changed")
        return try report(name)
    }

    /// Removes a tenant that has no models, and its keys; what it has under way is finished.
    /// - Throws: `ControlFailure` `not_found`, or a store's code (`in_use`: it has models).
    public func remove(_ name: String) throws(ControlFailure) -> TenantReport {
        let report = try report(name)
        try change(name) { tenant throws(ControlFailure) in
            guard tenant != nil else { throw unknown(name) }
            tenant = nil
        }
        events.add(.tenant, name, "tenant \(name) was removed, with its keys")
        whenRemoved.withLock { $0 }(name)
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
        events.add(.key, new.id, "the key \(new.id)… of \(name) was made")
        return new
    }

    /// Makes a key for the operator. From the first key on every request needs one.
    /// - Throws: `ControlFailure` with a store's code.
    public func createKey(_ role: OperatorRole) throws(ControlFailure) -> NewKey {
        let new = try operatorKeys.create(role)
        events.add(.key, new.id, "the key \(new.id)… (\(role.noun)) was made")
        return new
    }

    /// Revokes a key by what is seen of it; the whole key will do as well.
    /// - Throws: `ControlFailure` `not_found`, or a store's code.
    public func revokeKey(_ text: String) throws(ControlFailure) -> KeyReport {
        let seen = text.hasSuffix("…") ? String(text.dropLast()) : text
        let hash = AccessKey.hash(text)
        if let revoked = try operatorKeys.revoke(seen, hash: hash) { return told(revoked) }
        let found: (id: String, tenant: String)? = state.withLock { state in
            for tenant in state.tenants.values {
                if let key = tenant.keys.first(where: { $0.id == seen || $0.hash == hash }) {
                    return (key.id, tenant.name)
                }
            }
            return nil
        }
        guard let (id, owner) = found else {
            throw ControlFailure(
                code: "not_found",
                message: "no key is shown as \(seen.prefix(14)); `locum key list` says which there are")
        }
        var revoked: KeyRecord?
        try change(owner) { tenant throws(ControlFailure) in
            revoked = tenant?.keys.first { $0.id == id }
            tenant?.keys.removeAll { $0.id == id }
        }
        // Somebody else was quicker.
        guard let revoked else { throw unknown(owner) }
        return told(KeyReport(revoked, tenant: owner))
    }

    private func told(_ revoked: KeyReport) -> KeyReport {
        events.add(.key, revoked.id, "the key \(revoked.id)… \(revoked.owner) was revoked")
        return revoked
    }

    var backup: [BackupIndex.Tenant] {
        state.withLock { $0.tenants.values.sorted { $0.name < $1.name }.map(BackupIndex.Tenant.init) }
    }

    var operatorBackup: [BackupIndex.Key] { operatorKeys.all.map { BackupIndex.Key($0.key, role: $0.role) } }

    /// Makes an operator's key what it was in a backup.
    /// - Throws: `ControlFailure` `bad_request`, or a store's code.
    public func restore(_ key: BackupIndex.Key) throws(ControlFailure) -> KeyReport {
        let isTenants = reports.contains { $0.keys.contains { $0.id == key.id } }
        guard let role = key.role, let record = key.record, AccessKey.isID(key.id), !isTenants else {
            throw ControlFailure(
                code: "bad_request",
                message:
                    "what is said of the key '\(key.id.prefix(100))' cannot be: its form, its hash, what it opens, or a "
                    + "tenant's")
        }
        let restored = OperatorKey(role: role, key: record)
        try operatorKeys.restore(restored)
        events.add(.key, key.id, "the key \(key.id)… (\(role.noun)) was restored from a backup")
        return KeyReport(restored)
    }

    /// Makes a tenant, and its keys, what it was in a backup.
    /// - Throws: `ControlFailure` `bad_request`, or a store's code: a key may be another tenant's by now.
    public func restore(_ tenant: BackupIndex.Tenant) throws(ControlFailure) -> TenantReport {
        guard ModelName.isValid(tenant.name), let record = tenant.record,
            record.keys.allSatisfy({ AccessKey.isID($0.id) }), Set(record.keys.map(\.id)).count == record.keys.count,
            Set(record.keys.map(\.id)).isDisjoint(with: operatorKeys.all.map(\.key.id))
        else {
            throw ControlFailure(
                code: "bad_request",
                message: "what is said of tenant '\(tenant.name.prefix(100))' cannot be: a name, a key or its hash")
        }
        _ = try Self.sound(record.limits)
        try change(tenant.name) { current throws(ControlFailure) in
            current = record
        }
        events.add(.tenant, tenant.name, "tenant \(tenant.name) was restored from a backup, with its keys")
        return try report(tenant.name)
    }

    /// Writes down when keys were used. For the end of the process, too.
    public func flush() {
        do throws(ControlFailure) { try operatorKeys.flush() } catch {
            logger.warning("when the operator's keys were used could not be written down: \(error)")
        }
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
                state.withLock { state in
                    if state.tenants[name] != nil { state.used[name, default: [:]].merge(times) { newer, _ in newer } }
                }
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
            await OwnThread.run { self.flush() }
        }
    }

    /// Changes a tenant in the registry first, then here.
    private func change(
        _ name: String, _ edit: (inout TenantRecord?) throws(ControlFailure) -> Void
    ) throws(ControlFailure) {
        // Two changes follow each other; requests do not wait for the disk.
        try changes.withLock { _ throws(ControlFailure) in
            let old = state.withLock { $0.tenants[name] }
            var tenant = old
            try edit(&tenant)
            guard tenant != old else { return }
            if let uid = tenant?.limits.uid { try checkUser(uid, of: name) }
            do throws(StoreError) {
                if let tenant { try store.write(tenant) } else { _ = try store.remove(tenant: name) }
            } catch {
                throw ControlFailure(code: error.code, message: error.message)
            }
            state.withLock { state in
                state.put(name, tenant)
                if let limits = tenant?.limits, let most = limits.maxRequests {
                    state.gates[name]?.change(atOnce: most, queue: limits.queue)
                } else {
                    // Those under way keep the gate that they came through.
                    state.gates[name] = nil
                }
            }
            guard old?.limits.uid != tenant?.limits.uid || old?.limits.models != tenant?.limits.models else { return }
            for uid in Set([old?.limits.uid, tenant?.limits.uid].compactMap { $0 }) {
                whenUserChanged.withLock { $0 }(UInt32(clamping: uid))
            }
        }
    }

    /// A user is one tenant's, and none of Locum's own: those may everything, or nothing.
    private func checkUser(_ uid: Int, of name: String) throws(ControlFailure) {
        guard uid != Int(geteuid()), !TenantLimits.workers.contains(uid) else {
            throw ControlFailure(code: "bad_request", message: "user \(uid) is Locum's own and cannot be a tenant's")
        }
        let other = state.withLock { $0.tenants.values.first { $0.name != name && $0.limits.uid == uid }?.name }
        if let other {
            throw ControlFailure(code: "bad_request", message: "user \(uid) is tenant \(other)'s already")
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

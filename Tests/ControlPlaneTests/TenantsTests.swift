// Who may ask for what, and how much: keys, models, limits, turns.
import ControlStore
import FunctionModel
import Logging
import Scheduler
import Synchronization
import Testing
import Wire

@testable import ControlPlane

extension Tenants {
    /// A tenant as it shows a new key.
    func its(_ name: String) throws -> Caller { try caller(showing: createKey(for: name).key) }
}

extension ModelRecord {
    /// A model of one function.
    fileprivate static func named(_ name: String) -> ModelRecord {
        let draft = draft(name, experts: 0)
        return ModelRecord(
            name: name, revision: 1, manifest: draft.manifest, options: draft.options, deployedAt: 1, node: "n1",
            functions: [])
    }
}

@Suite("Tenants") final class TenantsTests: Sendable {
    private let clock = Mutex(Duration.zero)

    private func tenants(_ store: MemoryStore = MemoryStore()) throws -> Tenants {
        var quiet = Logger(label: "test")
        quiet.logLevel = .critical
        return try Tenants(store: store, logger: quiet, now: { self.clock.withLock { $0 } }) { 1000 }
    }

    @Test("Without a tenant nobody needs a key; with one everybody does, and only its own will do")
    func keys() throws {
        let store = MemoryStore()
        let tenants = try tenants(store)
        #expect(try tenants.caller(showing: nil) == .local && tenants.caller(showing: "anything") == .local)
        _ = try tenants.create("a", TenantLimits())
        _ = try tenants.create("b", TenantLimits())
        let (first, second, other) = (
            try tenants.createKey(for: "a"), try tenants.createKey(for: "a"), try tenants.createKey(for: "b")
        )
        #expect(Set([first.key, second.key, other.key]).count == 3 && first.key.hasPrefix(first.id))
        #expect(
            try tenants.caller(showing: first.key).name == "a" && tenants.caller(showing: other.key).name == "b"
        )
        var refusals: Set<String> = []
        for wrong in [
            "", "x", first.id, first.key + "x", String(first.key.dropLast()), String(repeating: "k", count: 4000),
        ] {
            let error = #expect(throws: ControlFailure.self) { try tenants.caller(showing: wrong) }
            #expect(error?.code == "unauthorized")
            refusals.insert(error?.message ?? "")
        }
        // A revoked key, by what is seen of it or by itself, is one that never was.
        #expect(try tenants.revokeKey(first.id).tenant == "a")
        _ = try tenants.revokeKey(second.key)
        for gone in [first.key, second.key] {
            refusals.insert(#expect(throws: ControlFailure.self) { try tenants.caller(showing: gone) }?.message ?? "")
        }
        #expect(refusals.count == 1)
        #expect(#expect(throws: ControlFailure.self) { try tenants.revokeKey(first.id) }?.code == "not_found")
        // Nothing that the registry holds is a key.
        let held = try store.tenants().flatMap(\.keys)
        #expect(
            held.map(\.id) == [other.id] && !held.contains { String(decoding: $0.hash, as: UTF8.self) == other.key })
        // After a restart it is the same.
        let again = try self.tenants(store)
        #expect(try again.caller(showing: other.key).name == "b")
        _ = try again.remove("b")
        #expect(throws: ControlFailure.self) { try again.caller(showing: other.key) }
        _ = try again.remove("a")
        #expect(try again.caller(showing: nil) == .local)
    }

    @Test("A name means a tenant's own model first, then the operator's; another tenant's where it is let in")
    func names() throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits())
        _ = try tenants.create("b", TenantLimits(models: ["chat@a", "m"]))
        _ = try tenants.create("c", TenantLimits(models: []))
        let (a, b, c) = (try tenants.its("a"), try tenants.its("b"), try tenants.its("c"))
        #expect(tenants.meanings(of: "chat", for: a) == ["chat@a", "chat"])
        #expect(tenants.meanings(of: "chat@a", for: a) == ["chat@a"])
        #expect(tenants.meanings(of: "chat@b", for: a) == [])
        #expect(
            tenants.meanings(of: "chat", for: b) == ["chat@b"] && tenants.meanings(of: "m", for: b) == ["m@b", "m"])
        #expect(tenants.meanings(of: "chat@a", for: b) == ["chat@a"])
        #expect(tenants.meanings(of: "m", for: c) == ["m@c"])
        for nonsense in ["", "@", "m@", "@a", "chat@a@a", "Chat", "chat/router"] {
            #expect(tenants.meanings(of: nonsense, for: a) == [], "\(nonsense)")
        }
        let there = ["chat", "chat@a", "chat@b", "m"].map { name in
            ModelSummary(.named(name), instances: 0)
        }
        func seen(_ caller: Caller) -> [String] { tenants.visible(there, to: caller).map(\.name) }
        #expect(seen(.local) == ["chat", "chat@a", "chat@b", "m"])
        #expect(seen(a) == ["chat", "m"] && seen(b) == ["chat", "chat@a", "m"] && seen(c) == [])
        #expect(tenants.users(of: "chat@a") == ["a", "b"] && tenants.users(of: "chat") == ["a"])
        // One of the same name that comes later is another.
        _ = try tenants.remove("a")
        _ = try tenants.create("a", TenantLimits())
        #expect(tenants.meanings(of: "chat", for: a) == [] && seen(a) == [])
    }

    @Test("The operator's keys open what they were made for, and close the API to everybody without a key")
    func operatorKeys() throws {
        let store = MemoryStore()
        let tenants = try tenants(store)
        #expect(try tenants.access(showing: nil) == .models(.local))
        let (admin, metrics) = (try tenants.createKey(.admin), try tenants.createKey(.metrics))
        #expect(try tenants.access(showing: admin.key) == .keyed(.admin))
        #expect(try tenants.access(showing: metrics.key) == .keyed(.metrics))
        _ = try tenants.create("a", TenantLimits())
        let other = try tenants.createKey(for: "a")
        #expect(try tenants.access(showing: other.key) == .models(tenants.caller(showing: other.key)))
        #expect(try tenants.caller(showing: other.key).name == "a")
        _ = try tenants.remove("a")
        // Without a tenant it stays closed, and refusals do not tell what a key would have opened.
        var refusals: Set<String> = []
        for wrong in [admin.id, admin.key + "x", String(metrics.key.dropLast()), other.key, "x"] {
            let error = #expect(throws: ControlFailure.self) { try tenants.access(showing: wrong) }
            #expect(error?.code == "unauthorized")
            refusals.insert(error?.message ?? "")
        }
        #expect(refusals == [Tenants.wrongKey.message])
        #expect(throws: ControlFailure.self) { try tenants.access(showing: nil) }
        #expect(tenants.keys.map(\.role).count { $0 == .admin } == 1 && tenants.keys.allSatisfy { $0.tenant == nil })
        #expect(tenants.keys.first { $0.id == admin.id }?.lastUsed == 1000)
        #expect(try store.operatorKeys().contains { $0.key.lastUsed != nil } == false)
        tenants.flush()
        #expect(try store.operatorKeys().allSatisfy { $0.key.lastUsed == 1000 })
        // After a restart it is the same; and revoked, both ways, it is open again.
        let again = try self.tenants(store)
        #expect(try again.access(showing: admin.key) == .keyed(.admin))
        store.fail(with: StoreError(code: "disk_full", message: "full"))
        #expect(#expect(throws: ControlFailure.self) { try again.revokeKey(admin.id) }?.code == "disk_full")
        #expect(#expect(throws: ControlFailure.self) { try again.createKey(.admin) }?.code == "disk_full")
        #expect(try again.access(showing: admin.key) == .keyed(.admin))
        store.fail(with: nil)
        #expect(try again.revokeKey(admin.id + "…").role == .admin)
        #expect(throws: ControlFailure.self) { try again.access(showing: admin.key) }
        #expect(try again.revokeKey(metrics.key).role == .metrics)
        #expect(try again.access(showing: nil) == .models(.local))
        #expect(try store.operatorKeys().isEmpty)
    }

    @Test("An operator's key from a backup is what it was, and what cannot be in one is refused")
    func operatorBackup() throws {
        let first = try tenants()
        let key = try first.createKey(.admin)
        _ = try first.access(showing: key.key)
        let kept = try #require(first.operatorBackup.first)
        let second = try tenants()
        _ = try second.create("a", TenantLimits())
        let other = try second.createKey(for: "a")
        #expect(try second.restore(kept).role == .admin && second.restore(kept).id == key.id)
        #expect(try second.access(showing: key.key) == .keyed(.admin) && second.operatorBackup == [kept])
        for spoil in [
            { $0.id = "other" }, { $0.hash = "ab" }, { $0.role = nil }, { $0.id = other.id },
        ] as [(inout BackupIndex.Key) -> Void] {
            var bad = kept
            spoil(&bad)
            #expect(
                #expect(throws: ControlFailure.self) { try second.restore(bad) as KeyReport }?.code == "bad_request")
        }
        // Nor can a tenant have it.
        var thief = try #require(second.backup.first)
        thief.keys[0].id = key.id
        #expect(#expect(throws: ControlFailure.self) { try second.restore(thief) }?.code == "bad_request")
        #expect(try second.access(showing: key.key) == .keyed(.admin))
    }

    @Test("When a key was used is seen at once, and after the end, too")
    func lastUse() throws {
        let store = MemoryStore()
        let tenants = try tenants(store)
        _ = try tenants.create("a", TenantLimits())
        let key = try tenants.createKey(for: "a")
        #expect(try tenants.report("a").keys.first?.lastUsed == nil)
        _ = try tenants.caller(showing: key.key)
        #expect(try tenants.report("a").keys.first?.lastUsed == 1000)
        #expect(try store.tenants().first?.keys.first?.lastUsed == nil)
        tenants.flush()
        #expect(try store.tenants().first?.keys.first?.lastUsed == 1000)
    }

    @Test("What cannot be is refused and changes nothing, also when the registry fails")
    func refusals() throws {
        let store = MemoryStore()
        let tenants = try tenants(store)
        _ = try tenants.create("a", TenantLimits(weight: 2))
        for name in ["", "A", "a b", String(repeating: "a", count: 64), "../a"] {
            let error = #expect(throws: ControlFailure.self) { try tenants.create(name, TenantLimits()) }
            #expect(error?.code == "bad_request")
        }
        #expect(#expect(throws: ControlFailure.self) { try tenants.create("a", TenantLimits()) }?.code == "exists")
        for name in ["b", ""] {
            #expect(
                #expect(throws: ControlFailure.self) { try tenants.set(name) { $0.weight = 3 } }?.code == "not_found")
            #expect(#expect(throws: ControlFailure.self) { try tenants.createKey(for: name) }?.code == "not_found")
            #expect(#expect(throws: ControlFailure.self) { try tenants.remove(name) }?.code == "not_found")
        }
        for edit in [
            { $0.weight = 0 }, { $0.queue = -1 }, { $0.maxRequests = 0 }, { $0.tokensPerMinute = 0 },
            { $0.models = ["not a name"] },
        ] as [(inout TenantLimits) -> Void] {
            #expect(#expect(throws: ControlFailure.self) { try tenants.set("a", edit) }?.code == "bad_request")
        }
        store.fail(with: StoreError(code: "disk_full", message: "full"))
        #expect(#expect(throws: ControlFailure.self) { try tenants.create("c", TenantLimits()) }?.code == "disk_full")
        #expect(#expect(throws: ControlFailure.self) { try tenants.createKey(for: "a") }?.code == "disk_full")
        #expect(#expect(throws: ControlFailure.self) { try tenants.remove("a") }?.code == "disk_full")
        #expect(tenants.reports.map(\.name) == ["a"] && tenants.reports[0].limits == TenantLimits(weight: 2))
        #expect(tenants.reports[0].keys.isEmpty)
    }

    @Test("Tokens per minute: what was used beyond is waited for, and what is left is told")
    func tokens() throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits(tokensPerMinute: 60))
        let caller = try tenants.its("a")
        #expect(tenants.allowance(of: caller) == TokenAllowance(limit: 60, remaining: 60, reset: .zero))
        #expect(tenants.allowance(of: .local) == nil)
        _ = try tenants.admit(caller, sequences: 1)
        tenants.spend(90, of: caller)
        let error = #expect(throws: ControlFailure.self) { try tenants.admit(caller, sequences: 1) }
        #expect(error?.code == "rate_limited" && error?.retryAfter == 31)
        #expect(tenants.allowance(of: caller)?.remaining == 0)
        clock.withLock { $0 = .seconds(31) }
        _ = try tenants.admit(caller, sequences: 1)
        // Another limit begins full; none at all is none.
        _ = try tenants.set("a") { $0.tokensPerMinute = 600 }
        #expect(tenants.allowance(of: caller)?.remaining == 600)
        _ = try tenants.set("a") { $0.tokensPerMinute = nil }
        #expect(tenants.allowance(of: caller) == nil)
    }

    @Test("Sequences at once: as many wait as may, and one more is refused")
    func atOnce() throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits(maxRequests: 2, queue: 1))
        let gate = try #require(try tenants.admit(try tenants.its("a"), sequences: 3))
        let error = #expect(throws: ControlFailure.self) { try tenants.admit(try tenants.its("a"), sequences: 1) }
        #expect(error?.code == "queue_full" && error?.retryAfter != nil)
        #expect(try tenants.report("a").waiting == 3)
        gate.abandon("")
        _ = try tenants.admit(try tenants.its("a"), sequences: 1)
        #expect(throws: ControlFailure.self) { try tenants.admit(.tenant("gone"), sequences: 1) }
    }

    @Test("Of a model that a tenant may not use it hears what it hears of one that is not there")
    func models() async throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits(models: ["other"]))
        let (controller, _) = try await plane()
        let sequences = Sequences(controller: controller, tenants: tenants) { _ throws(RouterUnavailable) in
            throw RouterUnavailable(code: "broken", message: "nobody may come here")
        }
        let control = LocalControl(
            controller: controller, sequences: sequences, tenants: tenants, metering: Metering(UsageInMemory()))
        func refusal(_ model: String) async -> String? {
            let spec = GenerateSpec(prompt: .tokens([1]))
            let asked = await #expect(throws: ControlFailure.self) {
                try await control.generate(model, [spec], for: try tenants.its("a"))
            }
            let described = await #expect(throws: ControlFailure.self) {
                try await control.describe(model, for: try tenants.its("a"))
            }
            #expect(asked == described && asked?.code == "not_found")
            return asked?.message.replacing(" \(model) ", with: " X ")
        }
        // `m` is there, `other` it may use but is not there, `mm` is neither.
        let messages = Set([await refusal("m"), await refusal("other"), await refusal("mm")])
        #expect(messages.count == 1 && messages.first??.contains("did you mean") == false)
        #expect(await control.models(for: try tenants.its("a")).isEmpty)
        #expect(await control.models(for: .local).map(\.name) == ["m"])
    }

    @Test("A tenant from a backup is what it was, and what cannot be in one is refused")
    func backup() throws {
        let first = try tenants()
        _ = try first.create("a", TenantLimits(weight: 4, models: ["m"]))
        let key = try first.createKey(for: "a")
        let kept = try #require(first.backup.first)
        // It is the same whether keys were used or not.
        _ = try first.caller(showing: key.key)
        first.flush()
        #expect(first.backup == [kept])
        let second = try tenants()
        _ = try second.create("a", TenantLimits())
        let newer = try second.createKey(for: "a")
        #expect(try second.restore(kept).limits == TenantLimits(weight: 4, models: ["m"]))
        #expect(try second.caller(showing: key.key).name == "a")
        #expect(throws: ControlFailure.self) { try second.caller(showing: newer.key) }
        for spoil in [
            { $0.name = "A B" }, { $0.limits.weight = 0 }, { $0.keys[0].hash = "ab" }, { $0.keys[0].id = "other" },
        ] as [(inout BackupIndex.Tenant) -> Void] {
            var bad = kept
            spoil(&bad)
            #expect(#expect(throws: ControlFailure.self) { try second.restore(bad) }?.code == "bad_request")
        }
        #expect(second.backup == [kept])
    }

    @Test("No two tenants have the same number in prompt caches, nor one that was made anew, and the operator has 0")
    func owners() throws {
        let tenants = try tenants()
        for index in 0..<20 { _ = try tenants.create("t\(index)", TenantLimits()) }
        let callers = try [Caller.local] + (0..<20).map { try tenants.its("t\($0)") }
        let numbers = callers.map(\.number)
        #expect(Set(numbers).count == callers.count && numbers[0] == 0)
        #expect(try (0..<20).map { try tenants.its("t\($0)").number } == Array(numbers.dropFirst()))
        _ = try tenants.remove("t0")
        #expect(!tenants.allows(callers[1], "m") && tenants.refusal(of: callers[1])?.code == "unauthorized")
        _ = try tenants.create("t0", TenantLimits(tokensPerMinute: 100))
        // Who was of the old one is not of the new one, and spends nothing of it.
        let new = try tenants.its("t0")
        #expect(new.number != numbers[1] && tenants.allows(new, "m") && !tenants.allows(callers[1], "m"))
        tenants.spend(1000, of: callers[1])
        #expect(tenants.refusal(of: new) == nil && tenants.allowance(of: new)?.remaining == 100)
        #expect(tenants.allowance(of: callers[1]) == nil && tenants.refusal(of: callers[1])?.code == "unauthorized")
    }

    @Test("What waited while its key was revoked or its model taken away does not begin")
    func revoked() throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits())
        let key = try tenants.createKey(for: "a")
        let caller = try tenants.caller(showing: key.key)
        #expect(tenants.refusal(of: caller) == nil && tenants.allows(caller, "m"))
        _ = try tenants.set("a") { $0.models = ["other"] }
        #expect(!tenants.allows(caller, "m"))
        _ = try tenants.revokeKey(key.id)
        #expect(tenants.refusal(of: caller)?.code == "unauthorized")
        #expect(try tenants.refusal(of: tenants.its("a")) == nil)
    }

    @Test("Other limits hold for what is under way, too, and who waits may run at once")
    func changed() async throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits(maxRequests: 1, queue: 1))
        let gate = try #require(try tenants.admit(try tenants.its("a"), sequences: 2))
        #expect(await gate.enter("", FairShare()))
        let second = Task { await gate.enter("", FairShare()) }
        try await waitUntil { gate.waiting == 1 }
        _ = try tenants.set("a") { $0.weight = 7 }
        #expect(throws: ControlFailure.self) { try tenants.admit(try tenants.its("a"), sequences: 1) }
        _ = try tenants.set("a") { $0.maxRequests = 2 }
        #expect(await second.value)
        #expect(try tenants.report("a").active == 2)
        #expect(
            #expect(throws: ControlFailure.self) { try tenants.admit(try tenants.its("a"), sequences: 4) }?.code
                == "bad_request")
    }

    @Test("A sequence that waited while its tenant used up its tokens, or went, does not begin")
    func late() throws {
        let tenants = try tenants()
        _ = try tenants.create("a", TenantLimits(tokensPerMinute: 10))
        let caller = try tenants.its("a")
        #expect(tenants.refusal(of: caller) == nil && tenants.refusal(of: .local) == nil)
        tenants.spend(11, of: caller)
        #expect(tenants.refusal(of: caller)?.code == "rate_limited")
        _ = try tenants.remove("a")
        #expect(tenants.refusal(of: caller)?.code == "unauthorized")
    }
}

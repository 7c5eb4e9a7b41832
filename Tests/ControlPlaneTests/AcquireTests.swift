// Acquiring: names become functions, functions get one instance each, and a caller gets what it may have.
import ControlStore
import FunctionModel
import Logging
import Synchronization
import Testing
import Wire

@testable import ControlPlane

extension Controller {
    /// The number of a model's first expert function.
    fileprivate func expert(of model: String) throws -> UInt64 {
        try #require(catalog.function(named: "\(model)/L00-E000")).id
    }
}

@Suite struct AcquireTests {
    @Test("The first to ask starts an instance, the second gets the same one")
    func oneInstance() async throws {
        let (controller, node) = try await plane()
        let first = await node.acquire(["m/router"])
        let second = await node.acquire(["m/router"])
        guard case .granted(_, let a) = first, case .granted(_, let b) = second else {
            Issue.record("not granted: \(String(describing: first)) \(String(describing: second))")
            return
        }
        #expect(a == b)
        #expect(node.spawned.count == 1)
        let status = await controller.status(active: 0, queued: 0)
        #expect(status.coldStarts == 1 && status.warmAcquisitions == 1)
    }

    @Test("A router is told its model's experts in order, an expert none")
    func callees() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router", "m/L00-E001"])
        let router = try #require(node.spawned.first { $0.runtime == .router })
        let names = try await controller.describe("m").functions.dropFirst().map(\.name)
        #expect(router.callees.count == 3 && names.count == 3)
        #expect(router.sequences == 4 && router.lanes == 2)
        let expert = try #require(node.spawned.first { $0.runtime == .expert })
        #expect(expert.callees.isEmpty && expert.name == "m/L00-E001")
        #expect(router.callees[1] == expert.function)
    }

    @Test("A tenant's user gets experts that the tenant may use, and hears one thing of all else")
    func users() async throws {
        let store = MemoryStore()
        let tenants = try Tenants(store: store, logger: Logger(label: "test")) { 1 }
        _ = try tenants.create("a", TenantLimits(models: ["m"], uid: 1001))
        _ = try tenants.create("b", TenantLimits(models: [], uid: 1002))
        let (controller, node) = try await plane(
            store, deployed: [draft(), draft("m@a"), draft("m@b")], tenants: tenants)
        var experts: [UInt64] = []
        for model in ["m", "m@a", "m@b"] { experts.append(try await controller.expert(of: model)) }
        func got(_ names: [String], _ ids: [UInt64] = [], _ peer: UInt32) async -> [UInt64]? {
            guard case .granted(_, let functions)? = await node.acquire(names, ids, peer: peer) else { return nil }
            return functions
        }
        // Its own goes before the operator's of that name.
        #expect(await got(["m/L00-E000"], [], 1001) == [experts[1]])
        #expect(await got(["m@a/L00-E000"], [], 1001) == [experts[1]])
        #expect(await got(["m/L00-E000"], [], 1002) == [experts[2]])
        #expect(await got([], [experts[0]], 1001) == [experts[0]])
        #expect(await got(["m/L00-E000"], [], 0) == [experts[0]])
        for id in [experts[0], experts[1]] { #expect(await got([], [id], 1002) == nil) }
        var words: Set<String> = []
        for name in ["m@a/L00-E000", "m@c/L00-E000", "n/L00-E000", "m/L00-E009", "m", "", "m@b/router@b"] {
            guard case .denied(_, "not_found", let message)? = await node.acquire([name], peer: 1002) else {
                Issue.record("\(name) was not refused")
                continue
            }
            words.insert(message.replacing(" \(name) ", with: " X "))
        }
        #expect(words == ["there is no function X that you may invoke"])
        guard case .denied(_, "denied", _)? = await node.acquire(["m/router"], peer: 1002) else {
            Issue.record("a router was granted")
            return
        }
        // What is taken away, and who is no tenant's any more: node is told.
        _ = try tenants.set("a") { $0.models = [] }
        #expect(await got([], [experts[0]], 1001) == nil)
        await controller.tellUsers(changed: [1001])
        #expect(
            await node.wait { $0.last { if case .users([1001, 1002], changed: [1001]) = $0 { true } else { false } } }
                != nil)
    }

    @Test("A user is one tenant's, and none of Locum's own")
    func uniqueUsers() throws {
        let tenants = try Tenants(store: MemoryStore(), logger: Logger(label: "test")) { 1 }
        let changed = Mutex<[UInt32]>([])
        tenants.onUserChange { uid in changed.withLock { $0.append(uid) } }
        _ = try tenants.create("a", TenantLimits(uid: 1001))
        for uid in [1001, 0, -1, 1 << 32, 0x6c6f_0001] {
            let error = #expect(throws: ControlFailure.self) { try tenants.create("b", TenantLimits(uid: uid)) }
            #expect(error?.code == "bad_request", "\(uid)")
        }
        _ = try tenants.set("a") { $0.uid = 1003 }
        _ = try tenants.create("b", TenantLimits(uid: 1001))
        #expect(tenants.caller(ofUser: 1001)?.name == "b" && tenants.caller(ofUser: 1002) == nil)
        #expect(tenants.users == [1001, 1003])
        _ = try tenants.remove("a")
        #expect(Set(changed.withLock { $0 }) == [1001, 1003] && tenants.users == [1001])
    }

    @Test("A name that does not exist is denied with names that resemble it")
    func unknownName() async throws {
        let (_, node) = try await plane()
        guard case .denied(_, let code, let message)? = await node.acquire(["m/ruoter"]) else {
            Issue.record("granted")
            return
        }
        #expect(code == "not_found")
        #expect(message.contains("m/router"))
        #expect(node.spawned.isEmpty)
    }

    @Test("A router may invoke its own list and nothing else")
    func rights() async throws {
        let (_, node) = try await plane(deployed: [draft("a"), draft("b")])
        _ = await node.acquire(["a/router", "b/router"])
        let router = try #require(node.spawned.first { $0.name == "a/router" })
        let other = try #require(node.spawned.first { $0.name == "b/router" })
        guard case .granted? = await node.acquire([router.callees[0]], caller: router.instance) else {
            Issue.record("its own expert was denied")
            return
        }
        guard case .denied(_, let code, _)? = await node.acquire([other.callees[0]], caller: router.instance) else {
            Issue.record("a foreign expert was granted")
            return
        }
        #expect(code == "denied")
    }

    @Test("After a crash the next to ask gets a new instance, and the crash is counted")
    func crash() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/L00-E000"])
        node.crash(try #require(node.spawned.first).instance)
        _ = await node.acquire(["m/L00-E000"])
        #expect(node.spawned.count == 2)
        #expect(Set(node.spawned.map(\.instance)).count == 2)
        #expect(await controller.status(active: 0, queued: 0).crashes == 1)
    }

    @Test("A function whose instance is leaving gets a second one")
    func whileDraining() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/L00-E000"])
        let first = try #require(node.spawned.first).instance
        node.state.withLock { _ = $0.stubborn.insert(first) }
        await controller.order([first], grace: .seconds(1), because: .asked)
        _ = await node.acquire(["m/L00-E000"])
        #expect(node.spawned.count == 2)
        #expect(await controller.instances().map(\.state).sorted() == ["draining", "ready"])
    }

    @Test("When the store cannot reserve numbers the caller is told why, and nothing starts")
    func storeFails() async throws {
        let store = MemoryStore()
        _ = try store.deploy(draft())
        store.fail(with: .init(code: "disk_full", message: "no space"))
        let (_, node) = try await plane(store, deployed: [])
        guard case .denied(_, "disk_full", _)? = await node.acquire(["m/router"]) else {
            Issue.record("granted")
            return
        }
        #expect(node.spawned.isEmpty)
    }

    @Test("A store that cannot be written any more keeps no instance from starting")
    func storeFailsLater() async throws {
        let store = MemoryStore()
        let (_, node) = try await plane(store)
        store.fail(with: .init(code: "disk_full", message: "no space"))
        guard case .granted? = await node.acquire(["m/router"]) else {
            Issue.record("denied")
            return
        }
        #expect(node.spawned.count == 1)
    }

    @Test("When the session with node ends, its instances are forgotten and start anew with the next session")
    func sessionLost() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router", "m/L00-E000"])
        await controller.disconnected()
        #expect(await controller.instances().isEmpty)
        let again = await FakeNode(controller)
        _ = await again.acquire(["m/router"])
        #expect(again.spawned.count == 1)
        #expect(again.retained.count == 4)
    }
}

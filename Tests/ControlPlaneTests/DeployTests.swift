// Deployments as control sees them: who may begin, what is believed of a manifest, and that two revisions never
// meet in one router.
import ControlStore
import FoundationEssentials
import FunctionModel
import Logging
import Synchronization
import Testing
import Wire

@testable import ControlPlane

extension Controller {
    fileprivate func resolved(_ names: [String]) -> [String] { names.filter { catalog.resolve($0) != nil } }
}

@Suite struct DeployTests {
    /// Runs a deployment of `draft` under `name`; answers node's last word to the CLI.
    private func deploy(
        _ node: FakeNode, _ draft: ModelDraft, number: UInt32 = 1, manifest: [UInt8]? = nil, peer: UInt32 = 0
    ) async throws -> NodeCommand? {
        node.send(.deploying(deployment: number, peer: peer, DeployOptions(name: draft.name)))
        let verdict = await node.wait { commands in
            commands.last {
                switch $0 {
                case .mayDeploy(number, _, _, _), .rejected(number, _, _): true
                default: false
                }
            }
        }
        guard case .mayDeploy? = verdict else { return verdict }
        let json = try manifest ?? Array(JSONEncoder().encode(draft.manifest))
        node.send(
            .imported(
                deployment: number, manifest: json, digests: draft.digests, written: 4,
                bytes: UInt64(draft.manifest.bytes)))
        return await node.wait { commands in
            commands.last {
                switch $0 {
                case .committed(number, _), .rejected(number, _, _): true
                default: false
                }
            }
        }
    }

    @Test("A tenant's model is its own: its tenant must be there, and stays as long as the model")
    func owned() async throws {
        let store = MemoryStore()
        let tenants = try Tenants(store: store, logger: Logger(label: "test")) { 1 }
        let (controller, node) = try await plane(store, tenants: tenants)
        guard case .rejected(_, "not_found", let message)? = try await deploy(node, draft("m@a")) else {
            Issue.record("a model of nobody was let in")
            return
        }
        #expect(message.contains("no tenant a"))
        for name in ["m@", "@a", "m@a@a", "m@A", "m@a/b"] {
            guard case .rejected(_, "bad_name", _)? = try await deploy(node, draft(name), number: 2) else {
                Issue.record("\(name) was taken for a name")
                continue
            }
        }
        _ = try tenants.create("a", TenantLimits(models: []))
        #expect(try report(await deploy(node, draft("m@a"), number: 3)).name == "m@a")
        #expect(await controller.models().map(\.name) == ["m", "m@a"])
        let described = try await controller.describe("m@a")
        #expect(described.owner == "a" && described.users == ["a"])
        #expect(described.functions.first?.name == "m@a/router")
        #expect(try await controller.describe("m").owner == nil)
        // Its own router of it, and none that only looks like one.
        let names = ["m@a/router@a", "m/router@a", "m@b/router", "m/router@", "m@a"]
        #expect(await controller.resolved(names) == ["m@a/router@a", "m/router@a"])
        #expect(#expect(throws: ControlFailure.self) { try tenants.remove("a") }?.code == "in_use")
        _ = try await controller.remove("m@a")
        _ = try tenants.remove("a")
    }

    @Test(
        "A tenant's user deploys under names of its own, sealed, within its shares, and hears of its own shards alone")
    func byUser() async throws {
        let store = MemoryStore()
        let tenants = try Tenants(store: store, logger: Logger(label: "test")) { 1 }
        _ = try tenants.create("a", TenantLimits(uid: 1001, disk: 40_000))
        let (controller, node) = try await plane(store, tenants: tenants)
        let first = try report(await deploy(node, draft(), peer: 1001))
        #expect(first.name == "m" && first.shardsWritten == 4)
        #expect(await controller.models().map(\.name) == ["m", "m@a"])
        #expect(
            node.state.withLock {
                $0.commands.contains(.mayDeploy(deployment: 1, probe: false, sealed: true, room: 40_000))
            })
        let second = try report(await deploy(node, draft("n", changed: [1]), number: 2, peer: 1001))
        #expect(second.shardsWritten == 1)
        // 16 KiB each: a third one is too much, one in place of another is not.
        guard
            case .rejected(_, "share_exceeded", let message)? = try await deploy(
                node, draft("o"), number: 3, peer: 1001)
        else {
            Issue.record("the share was exceeded")
            return
        }
        #expect(message.contains("o needs 16384 bytes of disk, and of the 40000") && message.contains("take 32768"))
        #expect(try report(await deploy(node, draft("n", changed: [2]), number: 4, peer: 1001)).revision == 2)
        _ = try tenants.set("a") { ($0.disk, $0.memory) = (nil, 1) }
        // Before the first shard is written.
        node.send(.deploying(deployment: 5, peer: 1001, DeployOptions(name: "p")))
        node.send(.planned(deployment: 5, manifest: try Array(JSONEncoder().encode(draft("p").manifest))))
        let verdict = await node.wait {
            $0.last { if case .rejected(5, "share_exceeded", _) = $0 { true } else { false } }
        }
        #expect(verdict != nil)
        _ = try tenants.set("a") { $0.memory = nil }
        node.send(.deploying(deployment: 6, peer: 1001, DeployOptions(name: "p")))
        node.send(.planned(deployment: 6, manifest: try Array(JSONEncoder().encode(draft("p").manifest))))
        #expect(await node.wait { $0.last { $0 == .mayWrite(deployment: 6) } } != nil)
        for name in ["m@b", "m@a@a", "", "@"] {
            guard case .rejected(_, "bad_name", _)? = try await deploy(node, draft(name), number: 7, peer: 1001) else {
                Issue.record("\(name) was taken for a name")
                continue
            }
        }
        // And removes what is its own.
        node.send(.removing(request: 90, peer: 1001, model: "absent"))
        #expect(await node.wait { $0.last { if case .denied(90, "not_found", _) = $0 { true } else { false } } } != nil)
        node.send(.removing(request: 91, peer: 1001, model: "m"))
        #expect(await node.wait { $0.last { $0 == .removed(request: 91) } } != nil)
        #expect(await controller.models().map(\.name) == ["m", "n@a"])
    }

    private func report(_ command: NodeCommand?) throws -> DeployReport {
        guard case .committed(_, let json)? = command else {
            Issue.record("not committed: \(String(describing: command))")
            throw CancellationError()
        }
        return try JSONDecoder().decode(DeployReport.self, from: Data(json.utf8))
    }

    @Test("A deployment is committed, listed, and its shards are kept")
    func commits() async throws {
        let (controller, node) = try await plane(deployed: [])
        let report = try report(await deploy(node, draft()))
        #expect(report.name == "m" && report.revision == 1 && report.changed && report.functions == 4)
        #expect(await controller.models().map(\.name) == ["m"])
        #expect(node.retained.count == 4)
        guard
            case .mayDeploy(_, probe: false, sealed: false, room: .max)? = node.state.withLock({
                $0.commands.first { if case .mayDeploy = $0 { true } else { false } }
            })
        else {
            Issue.record("a name that is new must not be probed")
            return
        }
    }

    @Test("Deploying the same again changes nothing; one changed expert changes one function")
    func again() async throws {
        let (controller, node) = try await plane(deployed: [])
        _ = try report(await deploy(node, draft()))
        let same = try report(await deploy(node, draft(), number: 2))
        #expect(!same.changed && same.revision == 1)
        let before = try await controller.describe("m").functions
        let other = try report(await deploy(node, draft(changed: [2]), number: 3))
        #expect(other.changed && other.revision == 2 && other.functionsChanged == 1)
        let after = try await controller.describe("m").functions
        #expect(zip(before, after).filter { $0.digest != $1.digest }.map { $1.name } == ["m/L00-E001"])
    }

    @Test("A router of the old revision goes on with its own experts until it ends; then their shards may go")
    func revisionsDoNotMix() async throws {
        let (controller, node) = try await plane(deployed: [])
        _ = try report(await deploy(node, draft()))
        _ = await node.acquire(["m/router"])
        let old = try #require(node.spawned.first)
        node.state.withLock { _ = $0.stubborn.insert(old.instance) }
        _ = try report(await deploy(node, draft(changed: [1]), number: 2))
        // The old router drains, and may still ask for the expert that was replaced.
        guard case .granted(_, let granted)? = await node.acquire([old.callees[0]], caller: old.instance) else {
            Issue.record("the old router's expert was denied")
            return
        }
        #expect(granted == [old.callees[0]])
        #expect(node.spawned.last?.digest == [UInt8](repeating: 2, count: 32))
        #expect(node.retained.count == 5)
        // A new caller gets a new router with the new expert.
        _ = await node.acquire(["m/router"])
        let new = try #require(node.spawned.last)
        #expect(new.runtime == .router && new.callees != old.callees)
        node.send(
            .exited(instance: old.instance, status: 0, evicted: true, reason: "", InstanceUsage(instance: old.instance))
        )
        try await waitUntil { node.retained.count == 4 }
        try await waitUntil { node.living("m/L00-E000") == nil }
        #expect(await controller.instances().map(\.function) == ["m/router"])
    }

    @Test("Removing a model ends its processes and lets its shards go")
    func removes() async throws {
        let (controller, node) = try await plane()
        _ = await node.acquire(["m/router", "m/L00-E000"])
        #expect(try await controller.remove("m").evicted == 2)
        #expect(node.living.isEmpty && node.retained.isEmpty)
        #expect(await controller.models().isEmpty)
        let error = await #expect(throws: ControlFailure.self) { try await controller.remove("m") }
        #expect(error?.code == "not_found")
    }

    @Test(
        "A name outside the rule is rejected before anything is imported",
        arguments: ["", "A", "a/b", "-a", "ü", String(repeating: "a", count: 64)])
    func names(name: String) async throws {
        let (_, node) = try await plane(deployed: [])
        guard case .rejected(_, "bad_name", let message)? = try await deploy(node, draft(name)) else {
            Issue.record("'\(name)' was accepted")
            return
        }
        #expect(message.contains("--name"))
    }

    @Test("A manifest that lies is rejected, and the registry stays as it was")
    func lies() async throws {
        let (controller, node) = try await plane()
        let before = await controller.models()
        typealias Edit = @Sendable (inout ImportManifest) -> Void
        let edits: [Edit] = [
            { $0.functions = [] }, { $0.functions[0].runtime = "expert" }, { $0.functions[1].runtime = "router" },
            { $0.functions[1].runtime = "exec" }, { $0.functions[1].shard = 4 }, { $0.functions[1].shard = -1 },
            { $0.functions[1].name = $0.functions[2].name }, { $0.functions[1].name = "../x" },
            { $0.functions[1].name = "" }, { $0.functions[1].bytes = 0 }, { $0.functions[1].experts = 0 },
            { $0.context = 0 }, { $0.hidden = -1 }, { $0.vocabulary = 0 }, { $0.functions.swapAt(0, 1) },
        ]
        for (index, edit) in edits.enumerated() {
            var bad = draft()
            edit(&bad.manifest)
            guard case .rejected(_, "bad_manifest", _)? = try await deploy(node, bad, number: UInt32(index + 1)) else {
                Issue.record("edit \(index) was accepted")
                continue
            }
        }
        for (index, text) in ["", "{}", "[]", "{\"architecture\": 1}", "\u{0}"].enumerated() {
            guard
                case .rejected? = try await deploy(
                    node, draft(), number: UInt32(100 + index), manifest: Array(text.utf8))
            else {
                Issue.record("'\(text)' was accepted")
                continue
            }
        }
        #expect(await controller.models() == before)
    }

    @Test("A manifest of sizes that overflow when they are added up is rejected, and control goes on")
    func overflows() async throws {
        let (controller, node) = try await plane()
        let before = await controller.models()
        typealias Edit = @Sendable (inout ImportManifest) -> Void
        let edits: [Edit] = [
            { ($0.sequenceBytesPerToken, $0.context) = (1 << 40, 1 << 24) }, { $0.context = .max },
            { $0.routerOverhead = .max }, { $0.functions[0].bytes = .max },
            { for index in $0.functions.indices { $0.functions[index].bytes = .max / 2 } },
            { $0.functions[1].experts = .max }, { $0.parameters = .max }, { $0.bytes = .max },
            { $0.eosTokens = Array(repeating: 1, count: 65) }, { $0.architecture = "\u{1B}[2J" },
            { $0.quantization = "" },
        ]
        for (index, edit) in edits.enumerated() {
            var bad = draft()
            edit(&bad.manifest)
            guard case .rejected(_, "bad_manifest", _)? = try await deploy(node, bad, number: UInt32(index + 1)) else {
                Issue.record("edit \(index) was accepted")
                continue
            }
        }
        #expect(await controller.models() == before)
    }

    @Test("When the registry cannot be written the CLI is told, and the old revision stays")
    func storeFails() async throws {
        let store = MemoryStore()
        let (controller, node) = try await plane(store)
        store.fail(with: StoreError(code: "disk_full", message: "no space"))
        guard case .rejected(_, "disk_full", _)? = try await deploy(node, draft(changed: [1])) else {
            Issue.record("it was committed")
            return
        }
        #expect(await controller.models().first?.revision == 1)
    }

    @Test(
        "Where nobody knows whether the registry has a deployment, its shards stay until the registry is written again")
    func inDoubt() async throws {
        let store = MemoryStore()
        let (_, node) = try await plane(store)
        store.fail(with: StoreError(code: "in_doubt", message: "perhaps"))
        guard case .rejected(_, "in_doubt", _)? = try await deploy(node, draft(changed: [1])) else {
            Issue.record("it was committed")
            return
        }
        #expect(node.retained.count == 5)
        store.fail(with: nil)
        _ = try await deploy(node, draft("other"), number: 2)
        try await waitUntil { node.retained.count == 4 }
    }

    @Test("verify hashes every shard once and names the functions of a damaged one")
    func verifies() async throws {
        let (controller, node) = try await plane()
        node.state.withLock { _ = $0.damaged.insert([UInt8](repeating: 3, count: 32)) }
        let report = try await controller.verify()
        #expect(report.shards == 4 && report.intact == 3)
        #expect(report.damaged.map(\.functions) == [["m/L00-E001"]])
    }
}

// Deployments with a played import: what it writes is checked, what it leaves is removed, and the CLI always
// hears how it ended.
import CLinux
import Glibc
import ShardStore
import Syscall
import Testing
import Wire

@testable import NodeAgent

@Suite(.serialized) struct DeploymentTests {
    /// A deployment whose import has been started.
    struct Begun {
        let cli: Descriptor
        let importer: Descriptor
        let id: UInt32
    }

    func begin(
        _ h: Harness, _ control: Descriptor, name: String = "m", sourceBytes: Int = 1000, sealed: Bool = false,
        room: UInt64 = .max
    ) throws -> Begun {
        let source = try SharedMemory(name: "source", count: sourceBytes)
        let cli = try h.connectCaller()
        try h.request(cli, .deploy(DeployOptions(name: name), files: ["config.json"], more: true), [0])
        try h.request(
            cli, .deploy(DeployOptions(name: name), files: ["model.safetensors"], more: false), [source.readable.raw])
        guard case .deploying(let id, geteuid(), let options) = try h.event(control) else {
            throw Harness.Missing(what: "deploying")
        }
        #expect(options.name == name)
        let before = h.importers.count
        try h.command(control, .mayDeploy(deployment: id, probe: true, sealed: sealed, room: room))
        let importer = try h.until("the import") { h.importers.count > before ? h.importers[before].channel : nil }
        let start = try #require(try h.next(importer, "start"))
        guard case .start(let given, let files, false) = try ImportCommand(frame: start.bytes) else {
            throw Harness.Missing(what: "start")
        }
        #expect(files == ["config.json", "model.safetensors"])
        #expect(given.probe)
        #expect(start.descriptors.count == 2)
        return Begun(cli: cli, importer: importer, id: id)
    }

    func say(_ importer: Descriptor, _ event: ImportEvent) throws { try Seqpacket.send(importer.raw, event.frame) }

    func command(_ h: Harness, _ importer: Descriptor) throws -> (command: ImportCommand, descriptors: [Descriptor]) {
        let packet = try #require(try h.next(importer, "a command for the import"))
        return (try ImportCommand(frame: packet.bytes), packet.descriptors)
    }

    /// Writes one shard as the import does, and closes it.
    func write(_ h: Harness, _ importer: Descriptor, index: UInt32, _ bytes: [UInt8], beyond: Int = 0) throws {
        try say(importer, .create(index: index, length: UInt64(bytes.count)))
        try fill(h, importer, bytes, beyond: beyond)
    }

    /// Writes into the file that node has made.
    func fill(_ h: Harness, _ importer: Descriptor, _ bytes: [UInt8], beyond: Int = 0) throws {
        let (created, descriptors) = try command(h, importer)
        #expect(created == .created)
        let file = try #require(descriptors.first)
        #expect(pwrite(file.raw, bytes, bytes.count, off_t(beyond)) == bytes.count)
    }

    /// The digest as another store computes it.
    func digest(_ bytes: [UInt8]) throws -> [UInt8] { try Harness().store(bytes) }

    @Test("A deployment goes from descriptors to stored shards, control's transaction and the CLI's answer")
    func succeeds() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        let importer = begun.importer
        let known = try h.store([9, 9])
        try say(importer, .progress(stage: "experts", done: 1, total: 2))
        guard case .deploying("experts", 1, 2) = try h.answer(begun.cli).event else {
            Issue.record("no progress")
            return
        }
        try say(importer, .has(index: 0, digest: known))
        #expect(try command(h, importer).command == .has(true))
        let bytes = [UInt8](repeating: 3, count: 100_000)
        let name = try digest(bytes)
        try say(importer, .has(index: 1, digest: name))
        #expect(try command(h, importer).command == .has(false))
        try write(h, importer, index: 1, bytes)
        try say(importer, .finish(index: 1, digest: name, length: 100_000))
        #expect(try command(h, importer).command == .finished)
        try say(importer, .manifest(part: [1, 2], last: false))
        try say(importer, .manifest(part: [3], last: true))
        guard case .imported(begun.id, [1, 2, 3], [known, name], 1, _) = try h.event(control) else {
            Issue.record("control was not told")
            return
        }
        try h.command(control, .committed(deployment: begun.id, json: "{}"))
        guard case .deployed("{}") = try h.answer(begun.cli).event else {
            Issue.record("the CLI was not told")
            return
        }
        #expect(h.files("shards").count == 2 && h.files("tmp").isEmpty)
        #expect(try h.until("the end of the import") { h.importers[0].process.hasEnded ? true : nil })
    }

    @Test("What a tenant deploys is written whole, whoever has the same bytes, within its room, and is stored once")
    func sealed() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let known = try h.store([9, 9])
        let begun = try begin(h, control, sealed: true, room: 4)
        let importer = begun.importer
        try say(importer, .plan(part: [7], last: false))
        try say(importer, .plan(part: [8], last: true))
        guard case .planned(begun.id, [7, 8]) = try h.event(control) else {
            Issue.record("control did not hear of the plan")
            return
        }
        try say(importer, .has(index: 0, digest: known))
        #expect(try command(h, importer).command == .has(false))
        // Nothing is written before control has agreed.
        try say(importer, .create(index: 0, length: 2))
        try h.settle()
        #expect(h.files("tmp").isEmpty)
        try h.command(control, .mayWrite(deployment: begun.id))
        try fill(h, importer, [9, 9])
        try say(importer, .finish(index: 0, digest: known, length: 2))
        #expect(try command(h, importer).command == .finished)
        #expect(h.files("shards").count == 1 && h.files("tmp").isEmpty)
        try say(importer, .create(index: 1, length: 3))
        #expect(try h.failure(begun.cli).code == "share_exceeded")
        #expect(h.files("shards").count == 1 && h.files("tmp").isEmpty)
    }

    @Test("A plan that comes late or twice is none", arguments: [false, true])
    func latePlan(afterShard: Bool) throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        if afterShard {
            try write(h, begun.importer, index: 0, [1])
        } else {
            try say(begun.importer, .plan(part: [1], last: true))
        }
        try say(begun.importer, .plan(part: [1], last: true))
        #expect(try h.failure(begun.cli).code == "bad_request")
    }

    @Test("A shard whose bytes are not what the import claims ends the deployment and is not kept")
    func lies() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        try write(h, begun.importer, index: 0, [1, 2, 3])
        try say(begun.importer, .finish(index: 0, digest: [UInt8](repeating: 1, count: 32), length: 3))
        #expect(try h.failure(begun.cli).code == "digest_mismatch")
        #expect(h.files("shards").isEmpty && h.files("tmp").isEmpty)
    }

    @Test("An import that keeps a shard open for writing is refused")
    func keepsOpen() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        try say(begun.importer, .create(index: 0, length: 3))
        let (_, descriptors) = try command(h, begun.importer)
        try say(begun.importer, .finish(index: 0, digest: [UInt8](repeating: 1, count: 32), length: 3))
        #expect(try h.failure(begun.cli).code == "still_open")
        withExtendedLifetime(descriptors) {}
    }

    @Test("What the import says failed reaches the CLI; half-written files go")
    func failsInWords() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        try write(h, begun.importer, index: 0, [1, 2, 3])
        #expect(h.files("tmp").count == 1)
        try say(begun.importer, .failed(code: "truncated", message: "model.safetensors: it ends at byte 17"))
        let failure = try h.failure(begun.cli)
        #expect(failure.code == "truncated" && failure.message.contains("byte 17"))
        #expect(h.files("tmp").isEmpty)
    }

    @Test("An import that dies is reported with how it died")
    func dies() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control)
        h.importers[0].process.end(SIGSYS)
        let failure = try h.failure(begun.cli)
        #expect(failure.code == "crashed" && failure.message.contains("SIGSYS"))
    }

    @Test("A shard larger than the disk is refused with disk_full before anything is written")
    func tooLarge() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let begun = try begin(h, control, sourceBytes: 1 << 61)
        try say(begun.importer, .create(index: 0, length: 1 << 60))
        let failure = try h.failure(begun.cli)
        #expect(failure.code == "disk_full" && failure.message.contains("\(1 << 60)"))
        #expect(h.files("tmp").isEmpty)
    }

    @Test(
        "An import cannot fill the disk: not with shards far larger than its sources, not with several, not beyond the end of one"
    )
    func fillsTheDisk() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        for attempt in ["large", "two", "beyond"] {
            let begun = try begin(h, control, name: attempt)
            switch attempt {
            case "large": try say(begun.importer, .create(index: 0, length: Deployment.mostAdded + 1_000_000))
            case "two":
                for index in 0..<2 as Range<UInt32> { try say(begun.importer, .create(index: index, length: 3)) }
            default: try write(h, begun.importer, index: 0, [1, 2, 3], beyond: 1)
            }
            let failure = try h.failure(begun.cli)
            #expect(failure.code == (attempt == "large" ? "import_too_large" : "bad_request"))
            #expect(h.files("tmp").isEmpty)
        }
    }

    @Test("A CLI that goes away cancels its deployment; the next in line starts")
    func cancelled() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        var first: Begun? = try begin(h, control, name: "a")
        try write(h, try #require(first).importer, index: 0, [1, 2, 3])
        let second = try h.connectCaller()
        try h.request(second, .deploy(DeployOptions(name: "b"), files: ["b.gguf"], more: false), [0])
        try h.settle()
        #expect(h.importers.count == 1)
        first = nil
        guard case .deploying(_, _, let options) = try h.event(control) else {
            Issue.record("the next did not start")
            return
        }
        #expect(options.name == "b")
        #expect(h.files("tmp").isEmpty)
        #expect(try h.until("the end of the import") { h.importers[0].process.hasEnded ? true : nil })
    }

    @Test("Two deployments of one name: the second is told that it is busy")
    func sameName() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let running = try begin(h, control)
        let second = try h.connectCaller()
        try h.request(second, .deploy(DeployOptions(name: "m"), files: ["x.gguf"], more: false), [0])
        #expect(try h.failure(second).code == "busy")
        withExtendedLifetime(running) {}
    }

    @Test("When control goes away meanwhile, the CLI is told and nothing half-written stays")
    func controlGoes() throws {
        let h = try Harness()
        var control: Descriptor? = try h.greetedControl()
        let begun = try begin(h, try #require(control))
        try write(h, begun.importer, index: 0, [1, 2, 3])
        control = nil
        #expect(try h.failure(begun.cli).code == "unavailable")
        #expect(h.files("tmp").isEmpty)
    }

    @Test("Shards of a deployment that control refused are collected; retained ones stay")
    func collects() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let kept = try h.store([7])
        _ = try h.store([8])
        try h.command(control, .retain(digests: [kept], last: true))
        try h.settle()
        #expect(h.files("shards").count == 1)
        let begun = try begin(h, control)
        let name = try digest([1, 2, 3])
        try write(h, begun.importer, index: 0, [1, 2, 3])
        try say(begun.importer, .finish(index: 0, digest: name, length: 3))
        _ = try command(h, begun.importer)
        // A list that comes meanwhile does not know of the new shard yet: it waits for the end.
        try h.command(control, .retain(digests: [kept], last: true))
        try h.settle()
        #expect(h.files("shards").count == 2)
        try say(begun.importer, .manifest(part: [1], last: true))
        _ = try h.event(control)
        try h.command(control, .rejected(deployment: begun.id, code: "bad_manifest", message: "no"))
        #expect(try h.failure(begun.cli).code == "bad_manifest")
        #expect(h.files("shards").count == 1)
    }

    @Test("No import starts while shards are being collected")
    func collectionFirst() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        for byte in 0..<60 as Range<UInt8> { _ = try h.store([byte]) }
        try h.command(control, .retain(digests: [], last: true))
        let begun = try begin(h, control)
        #expect(h.files("shards").isEmpty)
        withExtendedLifetime(begun) {}
    }

    @Test("A damaged shard is found by verify and set aside")
    func verifies() throws {
        let h = try Harness()
        let control = try h.greetedControl()
        let digest = try h.store([1, 2, 3, 4])
        let file = "\(h.path)/shards/\(try #require(ShardDigest(digest)).hex)"
        try h.command(control, .verify(request: 1, digest: digest))
        guard case .verified(1, .intact, "") = try h.event(control) else {
            Issue.record("an intact shard was not intact")
            return
        }
        chmod(file, 0o600)
        let raw = open(file, O_WRONLY)
        pwrite(raw, [0], 1, 1)
        close(raw)
        try h.command(control, .verify(request: 2, digest: digest))
        guard case .verified(2, .damaged, let message) = try h.event(control) else {
            Issue.record("damage was not found")
            return
        }
        #expect(message.contains("damaged") && message.contains("deploy"))
        try h.command(control, .verify(request: 3, digest: digest))
        guard case .verified(3, .damaged, let missing) = try h.event(control) else { return }
        #expect(missing.contains("not there"))
    }

    @Test("An import that breaks its protocol is ended")
    func protocolErrors() throws {
        let wrong: [ImportEvent] = [
            .manifest(part: [1], last: true), .finish(index: 0, digest: [UInt8](repeating: 0, count: 32), length: 3),
            .has(index: 70_000, digest: [UInt8](repeating: 0, count: 32)), .has(index: 0, digest: [1]),
        ]
        for event in wrong {
            let h = try Harness()
            let control = try h.greetedControl()
            let begun = try begin(h, control)
            try say(begun.importer, event)
            #expect(try h.failure(begun.cli).code == "bad_request", "\(event)")
            #expect(try h.until("its end") { h.importers[0].process.hasEnded ? true : nil })
        }
    }
}

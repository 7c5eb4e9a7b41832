// What the sandboxed import asks for and gets. It parses a stranger's file, so it is taken for hostile: it
// names no path, its digests are claims that node checks with its own hash, its files are counted and its
// manifest is only carried to control.
import Glibc
import ShardStore
import Syscall
import Wire

extension Deployments {
    func startImport(_ deployment: Deployment, probe: Bool) throws(NodeAgentError) {
        do {
            let (ours, theirs) = try Seqpacket.pair()
            let process = try launch(theirs)
            onLaunch(process.pid)
            deployment.child = try ChildProcess(loop, process) { [weak self, weak deployment] reason in
                guard let self, let deployment, deployment.state == .importing else { return }
                finish(deployment, NodeAgentError(code: "crashed", message: "locum-import failed: \(reason)"))
            }
            deployment.channel = try PacketChannel(
                loop, ours, onPacket: { [weak self, weak deployment] in self?.receive($0, deployment) },
                onEnd: { [weak self, weak deployment] in self?.lost(deployment, $0) })
        } catch {
            throw NodeAgentError(code: "exhausted", message: "locum-import could not be started: \(error)")
        }
        var options = deployment.options
        options.probe = probe
        let (files, sources) = (deployment.files, deployment.sources)
        // Far below the limits of one message in bytes and in descriptors.
        let part = 64
        for start in stride(from: 0, to: files.count, by: part) {
            let range = start..<min(start + part, files.count)
            let command = ImportCommand.start(options, files: Array(files[range]), more: range.upperBound < files.count)
            deployment.channel?.send(command.frame, Array(sources[range]))
        }
        deployment.sources = []
    }

    private func lost(_ deployment: Deployment?, _ end: PacketChannel.End) {
        guard let deployment, deployment.state == .importing else { return }
        switch end {
        // How it ended is said by its exit status, which follows.
        case .closed: deployment.child?.kill()
        case .malformed(let what): refuse(deployment, what)
        case .congested: refuse(deployment, "it does not read")
        }
    }

    private func refuse(_ deployment: Deployment, _ what: String) {
        finish(deployment, NodeAgentError(code: "bad_request", message: "locum-import broke its protocol: \(what)"))
    }

    private func receive(_ packet: Packet, _ deployment: Deployment?) {
        guard let deployment, deployment.state == .importing else { return }
        step(deployment) {
            guard packet.descriptors.isEmpty else { throw NodeAgentError.badRequest("it sent descriptors") }
            try handle(try ImportEvent(frame: packet.bytes), deployment)
        }
    }

    /// A step of the import; what cannot be ends the deployment.
    private func step(_ deployment: Deployment, _ body: () throws -> Void) {
        do { try body() } catch let error as ShardStoreError {
            finish(deployment, NodeAgentError(code: error.code, message: error.message))
        } catch {
            refuse(deployment, "\(error)")
        }
    }

    private func handle(_ event: ImportEvent, _ deployment: Deployment) throws {
        switch event {
        case .progress(let stage, let done, let total):
            // A CLI that does not keep up sees fewer steps, not later ones.
            guard deployment.caller.channel.backlog == 0 else { return }
            deployment.caller.send(.deploying(stage: String(stage.prefix(200)), done: done, total: total))
        case .has(let index, let bytes):
            let digest = try digest(bytes)
            try expectNew(index, deployment)
            let stored = !deployment.isSealed && store.has(digest)
            // In a dry run there are all shards, so that none is written.
            let passes = stored || deployment.options.isDryRun
            if passes { deployment.shards[index] = .stored(digest) }
            if passes && !stored { deployment.written += 1 }
            reply(deployment, .has(passes))
        case .create(let index, let length):
            guard !deployment.options.planOnly else { throw NodeAgentError.badRequest("it writes, and was to plan") }
            if case .asked(let waiting) = deployment.approval {
                guard waiting == nil else { throw NodeAgentError.badRequest("two shards are open") }
                deployment.approval = .asked(waiting: Deployment.Announced(index: index, length: length))
            } else {
                try create(index, length, deployment)
            }
        case .finish(let index, let bytes, let length): try finishShard(deployment, index, try digest(bytes), length)
        case .plan(let part, let last):
            guard deployment.approval == .unasked, deployment.shards.isEmpty else {
                throw NodeAgentError.badRequest("its plan does not come first")
            }
            guard deployment.plan.count + part.count <= Deployment.longestManifest else {
                throw NodeAgentError.badRequest("its plan is longer than \(Deployment.longestManifest) bytes")
            }
            deployment.plan += part
            guard last else { return }
            deployment.approval = .asked(waiting: nil)
            _ = tell(.planned(deployment: deployment.id, manifest: deployment.plan))
            deployment.plan = []
        case .manifest(let part, let last):
            guard deployment.manifest.count + part.count <= Deployment.longestManifest else {
                throw NodeAgentError.badRequest("its manifest is longer than \(Deployment.longestManifest) bytes")
            }
            deployment.manifest += part
            guard last else { return }
            deployment.options.planOnly && !deployment.options.isDryRun
                ? tellPlan(deployment) : try register(deployment)
        case .failed(let code, let message):
            finish(deployment, NodeAgentError(code: String(code.prefix(64)), message: String(message.prefix(8192))))
        }
    }

    /// Control has seen the plan and agrees.
    func mayWrite(_ deployment: Deployment) {
        guard case .asked(let waiting) = deployment.approval else { return }
        deployment.approval = .given
        if let waiting { step(deployment) { try create(waiting.index, waiting.length, deployment) } }
    }

    private func create(_ index: UInt32, _ length: UInt64, _ deployment: Deployment) throws {
        try expectNew(index, deployment)
        guard deployment.open == nil else { throw NodeAgentError.badRequest("two shards are open") }
        try announce(length, deployment)
        let shard = try store.createTemporary(length: length)
        deployment.shards[index] = .writing(shard)
        deployment.open = shard
        watch(deployment)
        reply(deployment, .created, shard.writable.map { [$0] } ?? [])
        shard.handOver()
    }

    private func announce(_ length: UInt64, _ deployment: Deployment) throws {
        let (all, overflow) = deployment.announced.addingReportingOverflow(length)
        let (grown, isFar) = deployment.sourceBytes.multipliedReportingOverflow(by: Deployment.mostGrowth)
        guard !overflow, isFar || all <= grown &+ Deployment.mostAdded else {
            throw ShardStoreError(
                code: "import_too_large",
                message:
                    "the shards of \(deployment.options.name) would have more than \(Deployment.mostGrowth) times the "
                    + "\(deployment.sourceBytes) bytes of its sources, and 1 GiB: no honest import needs that")
        }
        guard all <= deployment.room else {
            throw ShardStoreError(
                code: "share_exceeded",
                message:
                    "the shards of \(deployment.options.name) would have more than the \(deployment.room) bytes that are left "
                    + "of its tenant's share of the disk")
        }
        deployment.announced = all
    }

    /// The import writes through a descriptor: what it adds beyond a shard's end is seen before it has filled the disk.
    private func watch(_ deployment: Deployment) {
        loop.cancel(deployment.watch)
        deployment.watch = loop.after(.milliseconds(200)) { [weak self, weak deployment] in
            guard let self, let deployment, deployment.state == .importing, let open = deployment.open else { return }
            guard !open.hasGrown else { return refuse(deployment, "it writes beyond the end of a shard") }
            watch(deployment)
        }
    }

    private func digest(_ bytes: [UInt8]) throws -> ShardDigest {
        guard let digest = ShardDigest(bytes) else { throw NodeAgentError.badRequest("a digest has 32 bytes") }
        return digest
    }

    private func expectNew(_ index: UInt32, _ deployment: Deployment) throws {
        guard index < Deployment.mostShards, deployment.shards[index] == nil else {
            throw NodeAgentError.badRequest("shard \(index) exists already or is one too many")
        }
    }

    private func reply(_ deployment: Deployment, _ command: ImportCommand, _ descriptors: [Descriptor] = []) {
        deployment.channel?.send(command.frame, descriptors)
    }

    private func finishShard(
        _ deployment: Deployment, _ index: UInt32, _ claimed: ShardDigest, _ length: UInt64
    ) throws {
        guard case .writing(let shard) = deployment.shards[index], shard.length == length else {
            throw NodeAgentError.badRequest("shard \(index) is not being written with \(length) bytes")
        }
        let hashing = try shard.seal()
        deployment.shards[index] = .hashing(shard)
        loop.job { [weak self, weak deployment] in
            guard let self, let deployment, deployment.state == .importing else { return false }
            do throws(ShardStoreError) {
                guard let digest = try hashing.step() else { return true }
                guard digest == claimed else {
                    throw ShardStoreError(
                        code: "digest_mismatch", message: "shard \(index) was announced as \(claimed) and is \(digest)")
                }
                if try store.commit(shard, as: digest) { deployment.written += 1 }
                deployment.shards[index] = .stored(digest)
                deployment.open = nil
                reply(deployment, .finished)
            } catch {
                finish(deployment, NodeAgentError(code: error.code, message: error.message))
            }
            return false
        }
    }

    /// The import has said what it would make: that was all.
    private func tellPlan(_ deployment: Deployment) {
        let part = 64 << 10
        for start in stride(from: 0, to: deployment.manifest.count, by: part) {
            let end = min(start + part, deployment.manifest.count)
            deployment.caller.send(
                .planned(part: Array(deployment.manifest[start..<end]), last: end == deployment.manifest.count))
        }
        finish(deployment, nil)
    }

    private func register(_ deployment: Deployment) throws {
        guard let digests = deployment.digests, !digests.isEmpty else {
            throw NodeAgentError.badRequest("its manifest came before all its shards")
        }
        try store.flush()
        try deployment.move(to: .registering)
        deployment.stopImport()
        let event = NodeEvent.imported(
            deployment: deployment.id, manifest: deployment.manifest, digests: digests.map(\.bytes),
            written: deployment.written,
            bytes: deployment.options.isDryRun ? 0 : digests.reduce(0) { $0 &+ (store.length(of: $1) ?? 0) })
        deployment.manifest = []
        guard tell(event) else {
            throw NodeAgentError(code: "unavailable", message: "locum-control is not there to register the model")
        }
    }
}

// Deployments: may one start, is its manifest sound, one transaction, and then the old revision is let go. Node
// and the sandboxed import do the work; what control answers is final.
import ControlStore
import FoundationEssentials
public import FunctionModel
import Glibc
import Logging
import Scheduler
import Wire

extension Controller {
    func deploying(_ deployment: UInt32, _ options: DeployOptions, peer: UInt32) {
        var options = options
        let tenant = tenants?.caller(ofUser: peer)?.name
        if let tenant { options.name = ownName(options.name, of: tenant) }
        guard ModelName.isFull(options.name) else {
            let message =
                "a model cannot be named '\(options.name.prefix(80))': \(ModelName.rule); choose another with --name"
            return send([.rejected(deployment: deployment, code: "bad_name", message: message)])
        }
        // What would be may be asked before its tenant is made.
        if let owner = ModelName.owner(of: options.name), !options.isDryRun, tenants?.has(owner) != true {
            let message =
                "\(options.name) cannot be deployed: there is no tenant \(owner); `locum tenant create` makes one"
            return send([.rejected(deployment: deployment, code: "not_found", message: message)])
        }
        deployments[deployment] = PendingDeployment(options: options, tenant: tenant)
        send([
            .mayDeploy(
                deployment: deployment, probe: tenant == nil && catalog.model(options.name) != nil,
                sealed: tenant != nil, room: room(for: options.name))
        ])
    }

    /// What an import is about to make: what could not be registered is refused before it is written.
    func planned(_ deployment: UInt32, _ manifest: [UInt8]) {
        guard let options = deployments[deployment]?.options else {
            let message = "control was restarted during this deployment; deploy again"
            return send([.rejected(deployment: deployment, code: "unavailable", message: message)])
        }
        do throws(ControlFailure) {
            try check(Self.decoded(manifest), name: options.name)
            send([.mayWrite(deployment: deployment)])
        } catch {
            deployments[deployment] = nil
            failed(deployment, options, error)
        }
    }

    private func failed(_ deployment: UInt32, _ options: DeployOptions, _ error: ControlFailure) {
        logger.error("deployment of \(options.name) failed: \(error.message)")
        events.add(.deploy, options.name, "\(options.name) could not be deployed: \(error.message)")
        // Before node hears of the failure and collects what was written for it.
        if !doubtful.isEmpty { retain() }
        send([.rejected(deployment: deployment, code: error.code, message: error.message)])
    }

    /// - Parameter bytes: what node has stored of all its shards; of a dry run nothing.
    func imported(_ deployment: UInt32, _ manifest: [UInt8], _ digests: [[UInt8]], written: Int, bytes: Int) {
        restSoon()
        guard let pending = deployments.removeValue(forKey: deployment) else {
            let message = "control was restarted during this deployment; deploy again"
            return send([.rejected(deployment: deployment, code: "unavailable", message: message)])
        }
        let options = pending.options
        do throws(ControlFailure) {
            let draft = try draft(options, manifest, digests)
            // A tenant hears how many are new to it, not how many are new here.
            let written = pending.tenant.map { newShards(draft, of: $0) } ?? written
            if options.isDryRun {
                let report = pending.told(preview(draft, written: written))
                return send([.committed(deployment: deployment, json: try json(report))])
            }
            // A share is of what lies on the disk, whatever an import says of it.
            guard
                ModelName.owner(of: draft.name) == nil || bytes == draft.manifest.functions.reduce(0, { $0 + $1.bytes })
            else {
                throw ControlFailure(
                    code: "bad_manifest",
                    message: "the import's shards have \(bytes) bytes, its manifest says otherwise")
            }
            let report = pending.told(try commit(draft, written: written))
            send([.committed(deployment: deployment, json: try json(report))])
            retain()
        } catch {
            failed(deployment, options, error)
        }
    }

    private func draft(
        _ options: DeployOptions, _ manifest: [UInt8], _ digests: [[UInt8]]
    ) throws(ControlFailure) -> ModelDraft {
        guard case .up(_, let node, _) = session else {
            throw ControlFailure(code: "unavailable", message: "node has not said who it is")
        }
        guard digests.allSatisfy({ $0.count == 32 }) else {
            throw ControlFailure(code: "bad_manifest", message: "node sent a digest that is not 32 bytes long")
        }
        let decoded = try Self.decoded(manifest, shards: digests.count)
        try check(decoded, name: options.name)
        var seconds = timespec()
        clock_gettime(CLOCK_REALTIME, &seconds)
        return ModelDraft(
            name: options.name, manifest: decoded,
            options: DeployRecord(
                expertsPerFunction: Int(options.expertsPerFunction), layersPerFunction: Int(options.layersPerFunction),
                quantize: options.quantize, context: Int(options.context), kvType: options.kvType),
            digests: digests, deployedAt: Int64(seconds.tv_sec), node: node)
    }

    /// - Parameter shards: how many were stored; nil: as many as it says.
    private static func decoded(
        _ manifest: [UInt8], shards: Int? = nil
    ) throws(ControlFailure) -> ImportManifest {
        let decoded: ImportManifest
        do { decoded = try ImportManifest(json: Data(manifest)) } catch {
            throw ControlFailure(code: "bad_manifest", message: "the import's manifest is not readable: \(error)")
        }
        do throws(ManifestError) { try decoded.validate(shards: shards ?? decoded.functions.count) } catch {
            throw ControlFailure(code: "bad_manifest", message: "\(error)")
        }
        return decoded
    }

    /// Whether it may be registered: within the box's memory, and its tenant's shares.
    private func check(_ manifest: ImportManifest, name: String) throws(ControlFailure) {
        try checkFits(manifest, name: name)
        try checkShares(manifest, name: name)
    }

    /// - Throws: `ControlFailure` `does_not_fit` with what it would need, when no eviction could make room for it.
    private func checkFits(_ manifest: ImportManifest, name: String) throws(ControlFailure) {
        let shape = manifest.memoryShape(lanes: Int(settings.lanes))
        let least = MemoryCost.minimum(shape)
        guard memory.budget > 0, least > Int(clamping: memory.budget) else { return }
        func mebibytes(_ bytes: Int) -> String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }
        throw ControlFailure(
            code: "does_not_fit",
            message: "\(name) needs at least \(mebibytes(least)) (\(least) bytes) of memory, and the budget is "
                + "\(memory.budget) bytes: \(mebibytes(MemoryCost.daemons + MemoryCost.margin)) for the daemons, "
                + "\(mebibytes(shape.routerShard + shape.routerOverhead)) for the router, "
                + "\(mebibytes(shape.sequenceBytesPerToken * shape.context)) for one sequence of \(shape.context) "
                + "tokens, \(mebibytes(MemoryCost.workingSet(shape))) for one layer's experts. Give `locum up` more "
                + "with --memory, or deploy with a smaller --context or fewer --experts-per-function")
    }

    /// What `commit` would answer.
    private func preview(_ draft: ModelDraft, written: Int) -> DeployReport {
        let old = catalog.model(draft.name)
        if let old, isSame(old, draft) {
            return DeployReport(old, changed: false, functionsChanged: 0, shardsWritten: written)
        }
        let functions = draft.manifest.functions.enumerated().map { index, function in
            FunctionRecord(
                id: 0, model: draft.name, index: index, name: "\(draft.name)/\(function.name)",
                runtime: index == 0 ? .router : .expert, digest: draft.digests[function.shard], bytes: function.bytes,
                experts: function.experts, node: draft.node)
        }
        let before = Dictionary((old?.functions ?? []).map { ($0.name, $0.digest) }) { first, _ in first }
        let model = ModelRecord(
            name: draft.name, revision: (old?.revision ?? 0) + 1, manifest: draft.manifest, options: draft.options,
            deployedAt: draft.deployedAt, node: draft.node, functions: functions)
        return DeployReport(
            model, changed: true, functionsChanged: functions.count { before[$0.name] != $0.digest },
            shardsWritten: written)
    }

    private func commit(_ draft: ModelDraft, written: Int) throws(ControlFailure) -> DeployReport {
        let old = catalog.model(draft.name)
        // Its shards are whole now: what was damaged was written anew.
        faulty.subtract((old?.functions ?? []).map(\.id))
        crashLoops.forget((old?.functions ?? []).map(\.id))
        if let old, isSame(old, draft) {
            return DeployReport(old, changed: false, functionsChanged: 0, shardsWritten: written)
        }
        let model: ModelRecord
        do throws(StoreError) { model = try store.deploy(draft) } catch {
            if error.code == "in_doubt" { doubtful.formUnion(draft.digests) }
            throw ControlFailure(code: error.code, message: error.message)
        }
        doubtful = []
        catalog.put(model)
        replaceInstances(of: model)
        let before = Set(old?.functions.map(\.id) ?? [])
        logger.info("deployed \(model.name), revision \(model.revision), \(model.functions.count) functions")
        events.add(
            .deploy, model.name,
            "\(model.name) was deployed, revision \(model.revision) with \(model.functions.count) functions")
        return DeployReport(
            model, changed: true, functionsChanged: model.functions.count { !before.contains($0.id) },
            shardsWritten: written)
    }

    private func isSame(_ old: ModelRecord, _ draft: ModelDraft) -> Bool {
        old.manifest == draft.manifest && old.options == draft.options
            && old.functions.map(\.digest) == draft.manifest.functions.map { draft.digests[$0.shard] }
    }

    /// Routers of the revision before finish what they have and go; their experts follow them.
    private func replaceInstances(of model: ModelRecord) {
        let callees = model.functions.dropFirst().map(\.id)
        let digest = model.functions.first?.digest
        let stale = table.all.filter {
            $0.function.model == model.name && $0.function.runtime == .router
                && ($0.function.digest != digest || $0.callees != callees)
        }
        order(stale.map(\.id), grace: settings.replaceGrace, because: .replaced)
        releaseRetired()
    }

    /// `locum rm`: forgets a model and ends its instances.
    /// - Throws: `ControlFailure` `not_found`, or the store's.
    public func remove(_ name: String) async throws(ControlFailure) -> EvictReport {
        let removed: Bool
        do throws(StoreError) { removed = try store.remove(model: name) } catch {
            throw ControlFailure(code: error.code, message: error.message)
        }
        doubtful = []
        guard removed else { throw unknown("model", name) }
        crashLoops.forget((catalog.model(name)?.functions ?? []).map(\.id))
        catalog.remove(name)
        logger.info("removed \(name)")
        events.add(.remove, name, "\(name) was removed")
        let ended = await end(grace: .milliseconds(200)) { $0.model == name }
        releaseRetired()
        retain()
        return EvictReport(evicted: ended)
    }

    /// Full names of a tenant's models.
    func models(of owner: String) -> [String] { catalog.models(of: owner).map(\.name) }

    private func json(_ value: some Encodable) throws(ControlFailure) -> String {
        do { return String(decoding: try JSONEncoder().encode(value), as: UTF8.self) } catch {
            throw ControlFailure(code: "internal", message: "the report of a deployment cannot be written: \(error)")
        }
    }
}

// All deployments under way, one import at a time (an import is allowed 256 MiB; the others wait in line).
// Ends of every kind come through `finish`, so that whatever happened, the import is dead, half-written
// files are gone, the next one starts, and shards that no registry refers to are collected.
//
//   Deployments.swift         the line, the CLI's side and control's side
//   Deployments+Import.swift  the import's side
import ShardStore
import Syscall
import Wire

/// The line of deployments, and the set of shards that the registry keeps.
final class Deployments {
    static let mostInLine = 16

    let loop: EventLoop
    let store: ShardStore
    let launch: (Descriptor) throws -> StartedProcess
    private var line: [Deployment] = []
    /// Whether a connection is a tenant's.
    var isTenant: (Caller) -> Bool = { _ in false }
    /// Told of each import's process.
    var onLaunch: (Int32) -> Void = { _ in }
    /// Tells control; false when there is no session.
    var tell: (NodeEvent) -> Bool = { _ in false }
    private var nextID: UInt32 = 1
    /// What the registry refers to, as far as control has said in this session.
    private var retained: Set<ShardDigest>?
    private var retaining: Set<ShardDigest> = []
    private var collectionDue = false
    /// While it lasts no import starts: it could be told that a shard is stored which is on its way out.
    private var isCollecting = false

    init(_ loop: EventLoop, _ store: ShardStore, launch: @escaping (Descriptor) throws -> StartedProcess) {
        (self.loop, self.store, self.launch) = (loop, store, launch)
    }

    // MARK: The CLI's side

    /// A `deploy` message: the first begins a deployment, the following bring more source files.
    func request(
        _ caller: Caller, _ options: DeployOptions, _ files: [String], _ descriptors: [Descriptor], more: Bool
    ) throws(NodeAgentError) {
        guard files.count == descriptors.count else {
            throw .badRequest("\(files.count) file names came with \(descriptors.count) descriptors")
        }
        let deployment: Deployment
        if let open = line.first(where: { $0.caller === caller }) {
            guard open.state == .collecting, open.options == options else {
                throw .badRequest("a connection deploys one model at a time")
            }
            deployment = open
        } else {
            guard line.count < Self.mostInLine else {
                throw NodeAgentError(code: "busy", message: "too many deployments wait already; try again later")
            }
            if isTenant(caller) {
                // The line is short, and what others deploy is nothing to it.
                guard !line.contains(where: { $0.caller.identity.uid == caller.identity.uid }) else {
                    throw NodeAgentError(code: "busy", message: "you are deploying a model already; wait for its end")
                }
            } else if line.contains(where: { $0.options.name == options.name && !isTenant($0.caller) }) {
                throw NodeAgentError(code: "busy", message: "\(options.name) is being deployed by somebody else now")
            }
            deployment = Deployment(id: nextID, caller: caller, options: options)
            nextID &+= 1
            line.append(deployment)
        }
        deployment.add(files, descriptors)
        guard deployment.files.count <= Deployment.mostFiles else {
            throw .badRequest("more than \(Deployment.mostFiles) source files")
        }
        guard !more else { return }
        guard !deployment.files.isEmpty else { throw .badRequest("no source file was given") }
        try deployment.move(to: .queued)
        next()
    }

    /// The CLI went away: what is not registered yet is cancelled.
    func callerGone(_ caller: Caller) {
        guard let deployment = line.first(where: { $0.caller === caller }) else { return }
        finish(deployment, nil)
    }

    // MARK: Control's side

    /// Starts the first in line, if none is under way.
    private func next() {
        guard !isCollecting, let first = line.first(where: { $0.state != .collecting }), first.state == .queued else {
            return
        }
        // A plan changes nothing, so it needs nobody's leave.
        guard !first.options.planOnly || first.options.isDryRun else {
            return attempt(first) { () throws(NodeAgentError) in
                try first.move(to: .asking)
                try first.move(to: .importing)
                try startImport(first, probe: false)
            }
        }
        guard tell(.deploying(deployment: first.id, peer: first.caller.identity.uid, first.options)) else {
            return awaitControl(first)
        }
        attempt(first) { () throws(NodeAgentError) in try first.move(to: .asking) }
    }

    private func awaitControl(_ deployment: Deployment) {
        guard deployment.patience == nil else { return }
        deployment.patience = loop.after(Broker.patience) { [weak self] in
            self?.finish(
                deployment,
                NodeAgentError(
                    code: "unavailable",
                    message: "locum-control is not there; see whether `locum up` runs, and try again"))
        }
    }

    /// Runs a step; its failure ends the deployment.
    func attempt(_ deployment: Deployment, _ step: () throws(NodeAgentError) -> Void) {
        do throws(NodeAgentError) { try step() } catch { finish(deployment, error) }
    }

    func controlArrived() {
        for deployment in line {
            loop.cancel(deployment.patience)
            deployment.patience = nil
        }
        next()
    }

    func controlLost() {
        (retained, retaining) = (nil, [])
        for deployment in line where deployment.state != .collecting {
            let known = deployment.state == .registering ? "; `locum list` shows whether it was registered" : ""
            finish(
                deployment,
                NodeAgentError(
                    code: "unavailable",
                    message: "locum-control went away while \(deployment.options.name) was being deployed\(known); "
                        + "deploy it again"))
        }
    }

    func mayDeploy(_ id: UInt32, probe: Bool, sealed: Bool, room: UInt64) {
        guard let deployment = line.first(where: { $0.id == id && $0.state == .asking }) else { return }
        attempt(deployment) { () throws(NodeAgentError) in
            try deployment.move(to: .importing)
            (deployment.isSealed, deployment.room) = (sealed, room)
            try startImport(deployment, probe: probe || deployment.options.isDryRun)
        }
    }

    func mayWrite(_ id: UInt32) {
        guard let deployment = line.first(where: { $0.id == id && $0.state == .importing }) else { return }
        mayWrite(deployment)
    }

    func rejected(_ id: UInt32, _ code: String, _ message: String) {
        guard let deployment = line.first(where: { $0.id == id }) else { return }
        finish(deployment, NodeAgentError(code: code, message: message))
    }

    func committed(_ id: UInt32, _ json: String) {
        guard let deployment = line.first(where: { $0.id == id && $0.state == .registering }) else { return }
        if !deployment.options.isDryRun { retained?.formUnion(deployment.digests ?? []) }
        deployment.caller.send(.deployed(json: json))
        end(deployment)
    }

    // MARK: Ends

    /// Ends a deployment without success. No error: nobody is there to hear of it.
    func finish(_ deployment: Deployment, _ error: NodeAgentError?) {
        guard deployment.isOpen else { return }
        if let error { deployment.caller.send(.failed(request: 0, code: error.code, message: error.message)) }
        if deployment.written > 0 { collectionDue = true }
        end(deployment)
    }

    private func end(_ deployment: Deployment) {
        loop.cancel(deployment.patience)
        loop.cancel(deployment.watch)
        deployment.end()
        line.removeAll { $0 === deployment }
        collect()
        next()
    }

    /// Cancels everything, for the node's end.
    func stop() {
        for deployment in line {
            deployment.caller.send(
                .failed(request: 0, code: "unavailable", message: "locum-node is ending; nothing was deployed"))
            deployment.end()
        }
        line = []
    }

    // MARK: Collection

    /// A part of control's list of shards to keep.
    func retain(_ digests: [[UInt8]], last: Bool) throws(NodeAgentError) {
        for bytes in digests {
            guard let digest = ShardDigest(bytes) else { throw .badRequest("a digest has 32 bytes") }
            retaining.insert(digest)
        }
        guard last else { return }
        (retained, retaining) = (retaining, [])
        collectionDue = true
        collect()
    }

    /// Removes shards that nobody refers to, unless a deployment may be about to.
    private func collect() {
        guard collectionDue, let retained, line.allSatisfy({ $0.state == .collecting || $0.state == .queued }) else {
            return
        }
        guard !isCollecting, let collection = try? store.collect(keeping: retained) else { return }
        collectionDue = false
        isCollecting = true
        loop.job { [weak self] in
            if collection.step() { return true }
            guard let self else { return false }
            isCollecting = false
            collect()
            next()
            return false
        }
    }
}

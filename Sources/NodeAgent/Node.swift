// The node: all privilege, no policy. It owns the zygote, the store's files, the sockets and the cgroup; it
// spawns, links, kills and measures as control orders, and reports. This file wires the parts together and
// ends them in order; each part has a file of its own.
//
//   control ──node.sock──► Node+Control ──► InstanceTable ──► ZygoteSupervisor ──► workers
//   callers ─invoke.sock─► Node+Callers ──► Broker (links), Deployments (imports)
import CLinux
import Glibc
import ShardStore
public import Syscall
import Systemd
public import Wire

/// One node on one data folder.
public final class Node {
    enum State {
        case running
        case ending
        case ended
    }

    /// What a node is started with.
    public struct Options: Sendable {
        public var data: String
        /// Folder of the sockets; nil: `run` in the data folder.
        public var run: String?
        /// In every message to control, so that one control can tell nodes apart.
        public var node = "local"
        /// A pipe's read end: its end of file means that whoever started us is gone.
        public var lifeline: Int32?
        /// Memory budget in bytes; nil: see `MemoryLimit`.
        public var memory: Int?
        /// When another zygote takes over.
        var zygoteLimits = ZygoteGenerations.Limits()
        /// What becomes of routers' guesses.
        public var prediction = Prediction.on
        /// As a service: control's user, who may connect to node.sock, and the group whose members may invoke functions.
        public var controlUser: UInt32?
        public var group: UInt32?
        /// Listening sockets that the service manager passed: `node`, `invoke`.
        public var sockets: [String: Int32] = [:]

        public init(data: String) { self.data = data }
    }

    /// How long all workers and their pages may take to go; less than whoever started node gives it.
    static let endTimeout = UInt64.seconds(8)
    /// Threads of all workers: 1,440 experts with eight lanes each.
    private static let mostTasks = 16_384

    let options: Options
    let loop: EventLoop
    let folder: DataFolder
    let store: ShardStore
    let zygotes: ZygoteGenerations
    let memory: Memory
    let instances: InstanceTable
    let broker: Broker
    let deployments: Deployments
    let verifier: ShardVerifier
    private let write: (String, [RequestID]) -> Void
    var state = State.running
    var control: ControlSession?
    var sessions: UInt64 = 0
    private(set) var cgroup: Cgroup?
    private var cgroupState = ""
    /// What node itself gave up, for `locum status`.
    public var confinement = "not confined"
    /// Without a path: whoever passed the socket removes its file.
    private var listeners: [(socket: Descriptor, token: EventLoop.Token, path: String?)] = []
    private var signals: Descriptor?
    private var lifeline: Descriptor?
    /// Why it ended by itself.
    public private(set) var failure: NodeAgentError?
    /// The next look at what the daemons take.
    var measuring: EventLoop.Timer?
    /// When memory is given back, unless something comes up.
    var resting: EventLoop.Timer?
    /// The settings are to be read again.
    public var onReload: () -> Void = {}
    /// Who hears how node is.
    var manager: Notifier?
    var isReported = false

    /// Takes the data folder, starts the zygote and listens.
    /// - Parameters:
    ///   - launcher: how zygote and imports are started.
    ///   - log: for events that a person should know of, and for what HTTP requests had started, which it names.
    /// - Throws: `NodeAgentError`, `ShardStoreError` or `SyscallError`; nothing is left running.
    public init(
        _ options: Options, loop: EventLoop, launcher: Launcher, log: @escaping (String, [RequestID]) -> Void
    ) throws {
        (self.options, self.loop, write) = (options, loop, log)
        folder = try DataFolder(options.data, run: options.run)
        store = try ShardStore(folder: folder.shards, temporary: folder.temporary)
        zygotes = ZygoteGenerations(loop, limits: options.zygoteLimits, launch: launcher.zygote)
        let map = ProcessFacts.read("/proc/self/uid_map", atMost: 4096)
        memory = Memory(
            loop, store, total: options.memory ?? MemoryLimit.standard(), prediction: options.prediction)
        instances = InstanceTable(loop, store, zygotes, memory, WorkerIdentity(map: map))
        broker = Broker(loop, instances)
        deployments = Deployments(loop, store, launch: launcher.importer)
        verifier = ShardVerifier(loop, store)
        wire()
        try listen("node", folder.controlSocket, .stream, owner: options.controlUser, group: nil) { [unowned self] in
            controlConnected($0, $1)
        }
        try listen("invoke", folder.invokeSocket, .seqpacket, owner: nil, group: options.group) { [unowned self] in
            callerConnected($0, $1)
        }
        // Last, because nothing after them can fail and leave them behind.
        (cgroup, cgroupState) = Cgroup.make(name: "locum-\(folder.identity)")
        cgroup?.limit(memory: memory.total, tasks: Self.mostTasks)
        zygotes.start()
    }

    /// From now on SIGTERM, SIGINT and SIGHUP wait to be read from this descriptor: a signal in the middle of the start
    /// ends the node in order, too, and SIGHUP is not missed.
    public static func takeSignals() throws -> Descriptor {
        Descriptor(owning: try check(locum_signal_descriptor([SIGTERM, SIGINT, SIGHUP], 3), "watch for signals"))
    }

    /// Ends on one of these signals and when the lifeline closes; on SIGHUP it calls `onReload`.
    public func watchForEnd(_ signals: Descriptor) throws {
        self.signals = signals
        _ = try loop.watch(signals.raw) { [unowned self] _ in
            switch locum_signal_read(signals.raw) {
            case SIGHUP: onReload()
            case 1...: end()
            default: break
            }
        }
        guard let number = options.lifeline else { return }
        let lifeline = Descriptor(owning: number)
        self.lifeline = lifeline
        try lifeline.setNonblocking(true)
        _ = try loop.watch(number) { [unowned self] _ in
            var byte: UInt8 = 0
            if read(number, &byte, 1) == 0 { end() }
        }
    }

    func log(_ text: String) { write(text, []) }

    private func wire() {
        zygotes.onLaunch = { [unowned self] in cgroup?.take($0) }
        zygotes.onStarted = { [unowned self] in
            sayHello()
            reportReady()
        }
        let instancesDied = zygotes.onDeath
        zygotes.onDeath = { [unowned self] ids, reason in
            if state == .running { log(reason) }
            instancesDied(ids, reason)
            // A host where no zygote ever came up serves nobody; whoever started this node should hear that at once.
            guard zygotes.features == nil, state == .running else { return }
            failure = NodeAgentError(
                code: "sandbox", message: "no worker can run here; `locum doctor` says what this host lacks")
            end()
        }
        zygotes.onStopped = { [unowned self] in finish() }
        instances.onReady = { [unowned self] in instanceReady($0) }
        instances.onLeaving = { [unowned self] in broker.instanceLeaving($0) }
        instances.onGone = { [unowned self] in instanceGone($0, status: $1, reason: $2) }
        instances.onRequest = { [unowned self] in routerRequest($1, from: $0) }
        instances.onSuperfluous = { [unowned self] in _ = tellControl(.superfluous(instances: $0)) }
        instances.onFault = { [unowned self] instance, fault in
            log(fault.message)
            _ = tellControl(.faulty(instance: instance.id))
            broker.instanceFaulty(instance, fault)
        }
        instances.onAccepted = { [unowned self] in broker.sendOffers(to: $0) }
        broker.ask = { [unowned self] in tellControl($0) }
        broker.log = write
        deployments.onLaunch = { [unowned self] in cgroup?.takeImport($0) }
        deployments.tell = { [unowned self] in tellControl($0) }
        deployments.isTenant = { [unowned self] in broker.isTenant($0) }
        verifier.isUsed = { [unowned self] in instances.uses($0) }
    }

    /// What holds the sandbox, for `hello`.
    var features: [Feature]? {
        guard let features = zygotes.features else { return nil }
        return features + [
            Feature(name: "cgroup", state: cgroupState),
            Feature(name: "cpu_weaknesses", state: CPUWeaknesses.report()),
            Feature(name: "locum-node", state: confinement),
        ]
    }

    // MARK: Sockets

    /// Listens on what the service manager passed under this name, else on a socket of its own.
    private func listen(
        _ name: String, _ path: String, _ kind: UnixSocket.Kind, owner: UInt32?, group: UInt32?,
        _ connected: @escaping (Descriptor, Peer) -> Void
    ) throws {
        let passed = options.sockets[name].map { Descriptor(owning: $0) }
        let socket = try passed ?? UnixSocket.listen(path, kind: kind)
        if passed != nil {
            try socket.setNonblocking(true)
        } else if owner != nil || group != nil {
            try check(chown(path, owner ?? uid_t.max, group ?? gid_t.max), "give \(path) to the service's user")
            try check(chmod(path, group == nil ? 0o600 : 0o660), "set the mode of \(path)")
        }
        let token = try loop.watch(socket.raw) { [unowned self] _ in
            do {
                while let connection = try UnixSocket.accept(socket.raw) {
                    connected(connection, try UnixSocket.peer(of: connection.raw))
                }
            } catch {
                // Out of descriptors, most likely: those who wait are served when some are free again.
                log("\(path): \(error)")
                pauseAccepting()
            }
        }
        listeners.append((socket, token, passed == nil ? path : nil))
    }

    /// A listener that cannot accept stays readable; without a pause it would take a whole core.
    private func pauseAccepting() {
        for listener in listeners { try? loop.change(listener.token, listener.socket.raw, []) }
        loop.after(.milliseconds(200)) { [weak self] in
            guard let self, state == .running else { return }
            for listener in listeners { try? loop.change(listener.token, listener.socket.raw, .readable) }
        }
    }

    /// Node's own user, root and control's user may control it.
    func mayControl(_ peer: Peer) -> Bool { [geteuid(), 0, options.controlUser ?? 0].contains(peer.uid) }

    /// And they, the group's members and tenants' users may invoke functions; these what control grants them.
    func mayInvoke(_ socket: Descriptor, _ peer: Peer) -> Bool {
        broker.users.contains(peer.uid) || isOperator(socket, peer)
    }

    private func isOperator(_ socket: Descriptor, _ peer: Peer) -> Bool {
        mayControl(peer) || options.group.map { UnixSocket.peer(of: socket.raw, isIn: $0) } ?? false
    }

    // MARK: The end

    /// Ends everything in order: callers are told, workers die with the zygote, sockets and cgroup go.
    public func end() {
        guard state == .running else { return }
        state = .ending
        manager?.stopping()
        let ending = NodeAgentError(code: "unavailable", message: "locum-node is ending")
        broker.failAll(ending)
        deployments.stop()
        for listener in listeners {
            if let path = listener.path { unlink(path) }
            loop.unwatch(listener.token, listener.socket.raw)
        }
        listeners = []
        control?.close()
        control = nil
        loop.after(Self.endTimeout) { [weak self] in self?.finish() }
        zygotes.stop()
    }

    private func finish() {
        guard state == .ending else { return }
        state = .ended
        cgroup?.remove()
        loop.stop()
    }
}

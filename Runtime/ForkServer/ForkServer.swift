// The zygote's loop: told by node to fork an instance, telling node when one ended. It is PID 1 of a PID
// namespace, so when it ends the kernel ends every worker with it; it has one thread, so a fork copies no
// lock that somebody holds; it holds no shard, so workers of different functions share nothing but its code.
// What a worker then does is a closure: the real one is module Worker's, tests bring one that misbehaves.
import CLinux
import Glibc
import Sandbox
public import Syscall
public import Wire

/// Descriptors of a worker, its own from then on.
public struct WorkerDescriptors: Sendable {
    public let channel: Int32
    public let shard: Int32
    public let statusPage: Int32
}

/// Forks instances at node's order.
public final class ForkServer {
    /// A worker's whole life after the sandbox was entered: it starts its threads, calls `seal`, serves, and
    /// returns the exit code.
    public typealias Body = (SpawnOrder, WorkerDescriptors, _ seal: () throws(SyscallError) -> Void) -> Int32

    private enum Token: UInt64 {
        case channel, children
    }

    private let channel: Descriptor
    private let expertFilter: SeccompFilter
    private let routerFilter: SeccompFilter
    private let ground: Sandbox.ZygoteGround
    private let epoll: Epoll
    private let children: Descriptor
    private let body: Body
    /// Pid in this namespace to instance; exactly those that node was told are running.
    private var instances: [Int32: UInt64] = [:]

    /// Closes this process into the zygote's sandbox.
    /// - Parameters: descriptors as `IsolatedProcess.start` placed them; the filters are read and closed.
    /// - Throws: `SyscallError` that names the step.
    private init(
        channel: Descriptor, expertFilter: Int32, routerFilter: Int32, body: @escaping Body
    ) throws(SyscallError) {
        self.channel = channel
        self.body = body
        self.expertFilter = try SeccompFilter(descriptor: expertFilter)
        self.routerFilter = try SeccompFilter(descriptor: routerFilter)
        ground = try Sandbox.enterZygote(keeping: [channel.raw])
        epoll = try Epoll()
        children = Descriptor(owning: try check(locum_signal_descriptor([SIGCHLD], 1), "watch for ended workers"))
        try epoll.add(channel.raw, token: Token.channel.rawValue)
        try epoll.add(children.raw, token: Token.children.rawValue)
    }

    /// Serves node on descriptor 3 until it goes away; descriptors 4 and 5 hold the compiled policies of experts
    /// and routers. Never returns; ends the process by `_exit`, because there is nothing to flush or destroy.
    /// - Parameter features: what the caller has to say for `locum status`, beside what holds the sandbox.
    public static func serve(features: [Feature], body: @escaping Body) -> Never {
        let channel = Descriptor(owning: 3)
        do {
            locum_malloc_frugally()
            let server = try ForkServer(channel: channel, expertFilter: 4, routerFilter: 5, body: body)
            server.tell(
                .started(features: server.ground.features.map { Feature(name: $0.name, state: $0.state) } + features))
            while true { try server.turn() }
        } catch {
            // Instance 0 is no instance: the zygote itself could not go on.
            let report = ZygoteEvent.failed(instance: 0, stage: error.stage, errno: error.errno)
            try? Seqpacket.send(channel.raw, report.frame)
            _exit(1)
        }
    }

    private func turn() throws(SyscallError) {
        for event in try epoll.wait() {
            switch Token(rawValue: event.token) {
            case .channel: try obey()
            case .children, nil: reap()
            }
        }
    }

    /// Reads one order.
    private func obey() throws(SyscallError) {
        // End of file: node is gone or wants this to end.
        guard let packet = try Seqpacket.receive(channel.raw) else { _exit(0) }
        let command: ZygoteCommand
        do throws(WireError) {
            command = try ZygoteCommand(frame: packet.bytes)
        } catch {
            throw SyscallError(stage: "read an order of node (\(error))", errno: EPROTO)
        }
        switch command {
        case .spawn(let order):
            guard packet.descriptors.count == 3 else {
                return tell(.failed(instance: order.instance, stage: "take three descriptors", errno: EBADMSG))
            }
            // The child never returns from here; keeping the packet alive keeps its descriptors open in it.
            withExtendedLifetime(packet) { spawn(order, packet.descriptors) }
        }
    }

    private func spawn(_ order: SpawnOrder, _ descriptors: [Descriptor]) {
        // Whatever can be made before the fork is: what the child makes is memory of its own.
        let own = WorkerDescriptors(
            channel: descriptors[0].raw, shard: descriptors[1].raw, statusPage: descriptors[2].raw)
        let kept = [own.channel, own.shard, own.statusPage].sorted()
        let title = order.name.split(separator: "/").last.map(String.init) ?? order.name
        var pidfd: Int32 = -1
        let pid = locum_clone3(Sandbox.workerNamespaces, &pidfd)
        if pid == 0 { become(order, own, kept, title) }
        let number = errno
        guard pid > 0 else { return tell(.failed(instance: order.instance, stage: "fork a worker", errno: number)) }
        instances[pid] = order.instance
        let handle = Descriptor(owning: pidfd)
        tell(.spawned(instance: order.instance), descriptors: [handle.raw])
    }

    /// The child: a worker from here on. It never returns, so nothing that the zygote owned is destroyed in it;
    /// all descriptors but its own are closed by number.
    private func become(_ order: SpawnOrder, _ own: WorkerDescriptors, _ kept: [Int32], _ title: String) -> Never {
        locum_set_thread_name(title)
        do throws(SyscallError) {
            try Sandbox.enterWorker(
                uid: order.uid, mostPrivate: order.mostPrivate, keeping: kept, landlock: ground.landlock)
        } catch {
            let report = InvokeRequest.failed(code: "sandbox", message: "function \(order.name): \(error)")
            try? Seqpacket.send(own.channel, report.frame)
            _exit(1)
        }
        let filter = order.runtime == .router ? routerFilter : expertFilter
        _exit(body(order, own) { () throws(SyscallError) in try filter.load() })
    }

    private func reap() {
        // One SIGCHLD may stand for several.
        while locum_signal_read(children.raw) != 0 {}
        while true {
            var status: Int32 = 0
            let pid = waitpid(-1, &status, WNOHANG)
            guard pid > 0 else { return }
            guard let instance = instances.removeValue(forKey: pid) else { continue }
            tell(.exited(instance: instance, status: status))
        }
    }

    /// Node reads without pause; if it is gone, there is nobody to serve.
    private func tell(_ event: ZygoteEvent, descriptors: [Int32] = []) {
        do throws(SyscallError) {
            try Seqpacket.send(channel.raw, event.frame, descriptors: descriptors)
        } catch {
            _exit(0)
        }
    }
}

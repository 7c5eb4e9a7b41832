// locum-control: registry, scheduling, HTTP. Started by `locum up` with the data folder and a lifeline (a pipe whose end of
// file means that whoever started it is gone), or by systemd. It is crash-only: everything that must survive is in the
// registry before it is answered, so ending is unlinking the socket, closing the registry (that leaves one file to copy
// instead of one and its log) and leaving.
import CLinux
import ControlPlane
import ControlStore
import FunctionModel
import Gateway
import Glibc
import Logging
import NIOCore
import NIOPosix
import Policies
import Sandbox
import SeccompCompiler
import Settings
import Synchronization
import Syscall
import Systemd

@main
enum ControlMain {
    /// For `locum logs`.
    private static let logs = Feed<LogReport>(most: 4096)

    static func main() {
        let arguments: ControlArguments
        do { arguments = try ControlArguments(CommandLine.arguments) } catch { leave("\(error)", code: 64) }
        // First of all: the walls go up around the one thread that there is.
        let confinement: String
        do { confinement = try confine(arguments) } catch { leave("\(error)", code: 1) }
        if let form = arguments.repair {
            do { try Repair.run(data: arguments.data, json: form == "json") } catch { leave("\(error)", code: 1) }
            exit(0)
        }
        let notifier = Notifier()
        let ownSocket = arguments.sockets["admin"] == nil ? arguments.adminSocket : nil
        let leaving = Leaving(
            lifeline: arguments.lifeline, socket: ownSocket, notifier: notifier, drain: arguments.drainMilliseconds)
        raiseDescriptorLimit()
        // Whatever is logged for a request names it.
        let provider = Logger.MetadataProvider { RequestID.current.map { ["request": "\($0)"] } ?? [:] }
        LoggingSystem.bootstrap(
            { label, provider -> any LogHandler in
                let handler: any LogHandler =
                    Journal.isStandardError
                    ? JournalLogHandler(program: label, metadataProvider: provider)
                    : StreamLogHandler.standardError(label: label, metadataProvider: provider)
                return KeptLogHandler(inner: handler, feed: logs)
            }, metadataProvider: provider)
        // Not on the main actor, whose thread waits.
        Task.detached { await run(arguments, confinement, notifier) }
        leaving.wait()
    }

    private static func confine(_ arguments: ControlArguments) throws -> String {
        guard mkdir(arguments.run, 0o700) == 0 || errno == EEXIST else {
            throw SyscallError(stage: "make the folder \(arguments.run)")
        }
        let filter = try SeccompPolicy(.control).compile()
        return try Sandbox.enterControl(
            folders: [arguments.data, arguments.run], filter: filter.raw, port: UInt16(arguments.port))
    }

    private static func run(_ arguments: ControlArguments, _ confinement: String, _ notifier: Notifier) async {
        do {
            try await serve(arguments, confinement, notifier, Logger(label: "locum-control"))
        } catch let error as IOError where error.errnoCode == EADDRINUSE || error.errnoCode == EADDRNOTAVAIL {
            leave(
                "cannot listen on \(url(arguments.host, arguments.port)): \(String(cString: strerror(error.errnoCode))); "
                    + "choose another address with --listen", code: 1)
        } catch {
            leave("\(error)", code: 1)
        }
    }

    private static func serve(
        _ arguments: ControlArguments, _ confinement: String, _ notifier: Notifier, _ logger: Logger
    ) async throws {
        let run = arguments.run
        let lock = try RegistryLock(path: arguments.data + "/control.lock")
        let store = try SQLiteRegistry(path: arguments.data + "/registry.sqlite")
        Leaving.last.withLock { $0 = { store.close() } }
        let settings = ControlSettings(
            version: LocumVersion.text, confinement: confinement,
            idleTimeout: arguments.settings.idleMilliseconds.map { .milliseconds($0) },
            keepSessions: .milliseconds(arguments.settings.keepSessionsMilliseconds ?? 0),
            lanes: UInt8(arguments.threads))
        let events = EventLog()
        let controller = try Controller(store: store, settings: settings, logger: logger, events: events)
        let date = { @Sendable in Int64(time(nil)) }
        let tenants = try Tenants(store: store, logger: logger, events: events, date: date)
        let used = try SQLiteUsage(path: arguments.data + "/usage.sqlite")
        if let replaced = used.replaced {
            logger.error("the record of use was damaged and is \(replaced) now; a new one was begun")
        }
        let metering = Metering(
            store: used, controller: controller, processors: sysconf(Int32(_SC_NPROCESSORS_ONLN)), date: date)
        Leaving.last.withLock {
            $0 = {
                tenants.flush()
                store.close()
                metering.write()
                used.close()
            }
        }
        let invoke = run + "/invoke.sock"
        let sequences = Sequences(controller: controller, tenants: tenants, metering: metering) {
            name throws(RouterUnavailable) in
            try await InvokedRouter.acquire(name, path: invoke)
        }
        await controller.onRest { locum_give_back() }
        await controller.onRouterEnd { Task { await sequences.releaseLost() } }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let gateway = Gateway(
            control: LocalControl(
                controller: controller, sequences: sequences, tenants: tenants, metering: metering, logs: logs),
            group: group,
            logger: logger)
        Leaving.closing.withLock {
            $0 = {
                // Who follows what happens would be waited for.
                events.feed.close()
                logs.close()
                return gateway.requests.close()
            }
        }
        // A deep data folder is reached through a descriptor that stays open as long as the listener.
        let (admin, folder) = UnixSocket.shortened(arguments.adminSocket)
        if arguments.sockets["admin"] == nil { unlink(admin) }
        let (administration, administrationUp) = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                await NodeConnection(path: run + "/node.sock", group: group, logger: logger).run(controller)
            }
            tasks.addTask {
                let address = arguments.sockets["admin"].map { ListenAddress.passed($0) } ?? .path(admin)
                try await gateway.serveAdministration(address, group: arguments.group) { administrationUp.finish() }
            }
            tasks.addTask {
                let address =
                    arguments.sockets["http"].map { ListenAddress.passed($0) }
                    ?? .host(arguments.host, port: arguments.port)
                try await gateway.serveInference(address) { local in
                    if !arguments.isInsecure, let ip = local?.ipAddress, !isLoopback(ip) {
                        leave(
                            "other hosts reach \(ip), and nothing would be encrypted: listen on 127.0.0.1 behind a proxy that "
                                + "speaks TLS, or say --insecure (insecure: yes)", code: 1)
                    }
                    for await _ in administration {}
                    await controller.waitForNode()
                    let passed = arguments.sockets["http"] == nil ? nil : local?.ipAddress
                    announce("listening \(url(passed ?? arguments.host, local?.port ?? arguments.port))\n")
                    notifier.ready()
                    beat(Heartbeat(notifier), controller, on: group.any())
                }
            }
            try await tasks.next()
        }
        withExtendedLifetime((lock, folder)) {}
    }

    /// Tells the service manager how control is. A beat is one turn of what control lives by: NIO's loop fires, the
    /// controller answers. If either hangs there is none, and control is started again.
    private static func beat(_ heartbeat: Heartbeat, _ controller: Controller, on loop: any EventLoop) {
        guard let pause = heartbeat.pause else { return }
        Task {
            var heartbeat = heartbeat
            heartbeat.beat(await controller.words)
            let next = heartbeat
            loop.scheduleTask(in: .nanoseconds(Int64(clamping: pause))) { beat(next, controller, on: loop) }
        }
    }

    private static func url(_ host: String, _ port: Int) -> String {
        "http://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }

    /// As many connections as the gateway takes are more than the usual soft limit; the hard one is what we may have.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// 127.0.0.0/8, also as IPv6 has it, and ::1.
    private static func isLoopback(_ ip: String) -> Bool {
        ip.hasPrefix("127.") || ip == "::1" || ip.hasPrefix("::ffff:127.")
    }

    private static func announce(_ line: String) {
        let bytes = Array(line.utf8)
        _ = write(STDOUT_FILENO, bytes, bytes.count)
    }

    private static func leave(_ message: String, code: Int32) -> Never {
        if !Journal.isStandardError || !Journal.send(message, .error, program: "locum-control") {
            let bytes = Array("locum-control: \(message)\n".utf8)
            _ = write(STDERR_FILENO, bytes, bytes.count)
        }
        exit(code)
    }
}

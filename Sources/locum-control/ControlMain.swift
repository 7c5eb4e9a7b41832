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
import Wire

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
        let leaving = Leaving(lifeline: arguments.lifeline, socket: ownSocket, notifier: notifier)
        raiseDescriptorLimit()
        // Whatever is logged for a request names it.
        let provider = Logger.MetadataProvider { RequestID.current.map { ["request": "\($0)"] } ?? [:] }
        LoggingSystem.bootstrap(
            { label, provider -> any LogHandler in
                let handler: any LogHandler =
                    Journal.isStandardError
                    ? JournalLogHandler(program: label, metadataProvider: provider)
                    : StreamLogHandler.standardError(label: label, metadataProvider: provider)
                return KeptLogHandler(inner: handler, least: Journal.isTerminal ? .notice : .trace, feed: logs)
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
            folders: [arguments.data, arguments.run], readable: readable(arguments), filter: filter.raw,
            port: UInt16(arguments.port))
    }

    /// Folders of the files that are read again while control runs: by their names, and where links lead now. Folders, because
    /// whoever changes a file well puts another one in its place.
    private static func readable(_ arguments: ControlArguments) -> [String] {
        let tls = arguments.settings.tls.map { [$0.certificate, $0.key] } ?? []
        let files = (arguments.source.file.map { [$0] } ?? []) + tls
        return (files + files.compactMap(real)).map { path in
            guard let slash = path.lastIndex(of: "/") else { return "." }
            // Not the whole machine for a file that lies in its root.
            return slash == path.startIndex ? path : String(path[..<slash])
        }
    }

    private static func real(_ path: String) -> String? {
        guard let raw = realpath(path, nil) else { return nil }
        defer { free(raw) }
        return String(cString: raw)
    }

    private static func run(_ arguments: ControlArguments, _ confinement: String, _ notifier: Notifier) async {
        do {
            try await serve(arguments, confinement, notifier, Logger(label: "locum-control"))
        } catch let error as IOError where error.errnoCode == EADDRINUSE || error.errnoCode == EADDRNOTAVAIL {
            leave(
                "cannot listen on \(address(arguments.host, arguments.port)): \(String(cString: strerror(error.errnoCode))); "
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
            version: LocumVersion.text, confinement: confinement, idle: arguments.settings.idle,
            lanes: UInt8(arguments.threads))
        let events = EventLog()
        let date = { @Sendable in Int64(time(nil)) }
        let tenants = try Tenants(store: store, logger: logger, events: events, date: date)
        let controller = try Controller(
            store: store, settings: settings, logger: logger, events: events, tenants: tenants)
        let used = SQLiteUsage(path: arguments.data + "/usage.sqlite") {
            logger.error("the record of use was damaged and is \($0) now; a new one was begun")
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
            do throws(RouterUnavailable) {
                return try await InvokedRouter.acquire(name, path: invoke, for: RequestID.current)
            } catch {
                logger.notice("\(name) is not to be had: \(error.message)", metadata: ["reason": "\(error.code)"])
                throw error
            }
        }
        await controller.onRest { locum_give_back() }
        tenants.onUserChange { uid in Task { await controller.tellUsers(changed: [uid]) } }
        tenants.onRemoval { name in Task { await controller.releaseRouters(of: name) } }
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
        let tls = try arguments.settings.tls.map {
            try TLSFiles(certificate: $0.certificate, key: $0.key, logger: logger)
        }
        let reloading = Reloading(arguments, controller, tls, notifier, logger)
        await reloading.apply()
        // A deep data folder is reached through a descriptor that stays open as long as the listener.
        let (admin, folder) = UnixSocket.shortened(arguments.adminSocket)
        if arguments.sockets["admin"] == nil { unlink(admin) }
        let (administration, administrationUp) = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                await NodeConnection(path: run + "/node.sock", group: group, logger: logger).run(controller)
            }
            if let tls { tasks.addTask { await tls.watch() } }
            tasks.addTask {
                let address = arguments.sockets["admin"].map { ListenAddress.passed($0) } ?? .path(admin)
                try await gateway.serveAdministration(address, group: arguments.group) { administrationUp.finish() }
            }
            tasks.addTask {
                let address =
                    arguments.sockets["http"].map { ListenAddress.passed($0) }
                    ?? .host(arguments.host, port: arguments.port)
                try await gateway.serveInference(address, tls: tls, isOpen: arguments.settings.isInsecure) { local in
                    if let fault = exposure(arguments.settings, local, tenants) { leave(fault, code: 1) }
                    for await _ in administration {}
                    await controller.waitForNode()
                    let passed = arguments.sockets["http"] == nil ? nil : local?.ipAddress
                    let scheme = tls == nil ? "http" : "https"
                    announce(
                        "listening \(scheme)://\(Self.address(passed ?? arguments.host, local?.port ?? arguments.port))\n"
                    )
                    notifier.ready()
                    Leaving.onReload { Task { await reloading.reload() } }
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

    private static func address(_ host: String, _ port: Int) -> String {
        "\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }

    /// As many connections as the gateway takes are more than the usual soft limit; the hard one is what we may have.
    private static func raiseDescriptorLimit() {
        _ = locum_raise_file_limit()
    }

    /// Why it must not listen there; nil when it may.
    private static func exposure(
        _ settings: ServiceSettings, _ local: SocketAddress?, _ tenants: Tenants
    ) -> String? {
        guard !settings.isInsecure, let local, let ip = local.ipAddress, !local.isLoopback else { return nil }
        let way = "or say --insecure (insecure: yes)"
        if settings.tls == nil {
            return "other hosts reach \(ip), and nothing would be encrypted: give it a certificate (tls-certificate, "
                + "tls-key), listen on 127.0.0.1 behind a proxy that speaks TLS, \(way)"
        }
        guard tenants.reports.isEmpty else { return nil }
        return "other hosts reach \(ip), and nobody would need a key: listen on 127.0.0.1 until `locum tenant create` "
            + "has made a tenant, \(way)"
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

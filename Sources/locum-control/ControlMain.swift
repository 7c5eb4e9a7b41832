// locum-control: registry, scheduling, HTTP. Started by `locum up` (later by systemd) with the data folder and a
// lifeline: a pipe whose end of file means that whoever started it is gone. It is crash-only: everything that must
// survive is in the registry before it is answered, so ending is unlinking the socket, closing the registry (that
// leaves one file to copy instead of one and its log) and leaving.
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
import Synchronization
import Syscall

@main
enum ControlMain {
    static func main() {
        let arguments: ControlArguments
        do throws(ControlArguments.Unusable) { arguments = try ControlArguments(CommandLine.arguments) } catch {
            leave(error.description, code: 64)
        }
        // First of all: the walls go up around the one thread that there is.
        let confinement: String
        do { confinement = try confine(arguments) } catch { leave("\(error)", code: 1) }
        if let form = arguments.repair {
            do { try Repair.run(data: arguments.data, json: form == "json") } catch { leave("\(error)", code: 1) }
            exit(0)
        }
        let leaving = Leaving(lifeline: arguments.lifeline, socket: arguments.adminSocket)
        raiseDescriptorLimit()
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        // Not on the main actor, whose thread waits.
        Task.detached { await run(arguments, confinement) }
        leaving.wait()
    }

    private static func confine(_ arguments: ControlArguments) throws -> String {
        let filter = try SeccompPolicy(.control).compile()
        return try Sandbox.enterControl(folders: [arguments.data], filter: filter.raw, port: UInt16(arguments.port))
    }

    private static func run(_ arguments: ControlArguments, _ confinement: String) async {
        do {
            try await serve(arguments, confinement, Logger(label: "locum-control"))
        } catch let error as IOError where error.errnoCode == EADDRINUSE || error.errnoCode == EADDRNOTAVAIL {
            leave(
                "cannot listen on \(arguments.hostInURL):\(arguments.port): \(String(cString: strerror(error.errnoCode))); "
                    + "choose another address with --listen", code: 1)
        } catch {
            leave("\(error)", code: 1)
        }
    }

    private static func serve(
        _ arguments: ControlArguments, _ confinement: String, _ logger: Logger
    ) async throws {
        let run = arguments.data + "/run"
        guard mkdir(run, 0o700) == 0 || errno == EEXIST else { throw SyscallError(stage: "make the folder \(run)") }
        let lock = try RegistryLock(path: arguments.data + "/control.lock")
        let store = try SQLiteRegistry(path: arguments.data + "/registry.sqlite")
        Leaving.last.withLock { $0 = { store.close() } }
        let settings = ControlSettings(
            version: LocumVersion.text, confinement: confinement,
            idleTimeout: arguments.idleMilliseconds.map { .milliseconds($0) },
            keepSessions: .milliseconds(arguments.keepSessionsMilliseconds), lanes: UInt8(arguments.threads))
        let controller = try Controller(store: store, settings: settings, logger: logger)
        let invoke = run + "/invoke.sock"
        let sequences = Sequences(controller: controller) { model throws(RouterUnavailable) in
            try await InvokedRouter.acquire(model: model, path: invoke)
        }
        await controller.onRest { locum_give_back() }
        await controller.onRouterEnd { Task { await sequences.releaseLost() } }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let gateway = Gateway(
            control: LocalControl(controller: controller, sequences: sequences), group: group, logger: logger)
        // A deep data folder is reached through a descriptor that stays open as long as the listener.
        let (admin, folder) = UnixSocket.shortened(arguments.adminSocket)
        unlink(admin)
        let (administration, administrationUp) = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                await NodeConnection(path: run + "/node.sock", group: group, logger: logger).run(controller)
            }
            tasks.addTask {
                try await gateway.serveAdministration(path: admin) { administrationUp.finish() }
            }
            tasks.addTask {
                try await gateway.serveInference(host: arguments.host, port: arguments.port) { port in
                    for await _ in administration {}
                    await controller.waitForNode()
                    announce("listening http://\(arguments.hostInURL):\(port)\n")
                }
            }
            try await tasks.next()
        }
        withExtendedLifetime((lock, folder)) {}
    }

    /// As many connections as the gateway takes are more than the usual soft limit; the hard one is what we may have.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private static func announce(_ line: String) {
        let bytes = Array(line.utf8)
        _ = write(STDOUT_FILENO, bytes, bytes.count)
    }

    private static func leave(_ message: String, code: Int32) -> Never {
        let bytes = Array("locum-control: \(message)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
        exit(code)
    }
}

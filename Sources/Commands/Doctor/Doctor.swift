// `locum doctor`: what this host has of what Locum needs, and what to do where something is missing. It tries things
// rather than believe settings, changes nothing, and works where much is hidden (containers, /sys not mounted).
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check whether and how well Locum can run on this host.",
        discussion: """
            A line for each thing: ok, note (it runs, but weaker or slower) or problem (it does not run here), what was
            found, and below it what follows from it and what to do. Run it as the user who is to run `locum up`. Exit
            code 0: Locum can run here; 1: it cannot.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Option(help: ArgumentHelp("Address that the HTTP API is to have.", valueName: "host:port"))
    var listen = "127.0.0.1:8420"
    @Flag(help: "Print JSON.") var json = false

    private struct Report: Encodable {
        let ok: Bool
        let checks: [Check]
    }

    func validate() throws { try SettingOptions.check("listen", listen) }

    func run() throws {
        try reporting {
            let folder = FolderFacts(daemon.folder)
            var checks: [Check] = []
            func add(_ more: [Check]) {
                checks += more
                if !json { more.forEach(show) }
            }
            add(KernelChecks.all() + NamespaceChecks.all())
            let node = NodeWord()
            add(SandboxChecks.all(node) + MemoryChecks.all(node) + LimitChecks.all() + ProcessorChecks.all())
            add(PermissionChecks.all(folder, run: FolderFacts(daemon.sockets)))
            add([DiskChecks.room(folder), DiskChecks.speed(folder)])
            add([PortCheck(listen: listen, data: folder.path).check(), running()])
            let problems = checks.filter { $0.state == .problem }.map(\.name)
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.withoutEscapingSlashes]
                write(bytes: Array(try encoder.encode(Report(ok: problems.isEmpty, checks: checks))) + [10])
            } else {
                write(
                    text: problems.isEmpty
                        ? "Locum can run here.\n" : "Locum cannot run here: \(problems.joined(separator: ", ")).\n")
            }
            if !problems.isEmpty { throw ExitCode(Code.failed) }
        }
    }

    private func show(_ check: Check) {
        write(text: check.state.rawValue.padded(9) + check.name.padded(17) + check.found + "\n")
        if !check.advice.isEmpty { write(text: "".padded(9) + "".padded(17) + "-> \(check.advice)\n") }
    }

    /// A daemon that serves this data folder already, and what holds there: it may have been started otherwise than by us.
    private func running() -> Check {
        guard let status = try? daemon.client.get("/admin/status", as: StatusReport.self) else {
            return .ok("daemon", "none answers on \(daemon.folder)")
        }
        let budget = Human.bytes(status.memory.budgetBytes)
        let features = ["landlock", "cgroup"].compactMap { name in status.sandbox[name].map { "\(name) \($0)" } }
        let found =
            "locum \(status.version) runs: \(status.models) models, budget \(budget), "
            + features.joined(separator: ", ")
        guard status.nodeConnected else {
            return .note("daemon", found, "its locum-node is being started again; its log says why it ended")
        }
        return .ok("daemon", found)
    }
}

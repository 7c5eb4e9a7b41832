// The `locum` command: one subcommand per thing a person does. Exit codes are part of the interface.
public import ArgumentParser
import FunctionModel

/// The root command. Exit codes: 0 done, 1 failed, 3 not found, 4 daemon not reachable, 64 usage.
public struct Locum: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "locum",
        abstract: "Serve Mixture-of-Experts models with every expert a sandboxed function.",
        discussion: """
            Start with `locum up`, then in another terminal `locum deploy tales-moe` and
            `locum generate tales-moe "Once upon a time"`.

            The daemon is found by --data, else LOCUM_DATA, else it is the person's own (~/.local/share/locum, for root
            /var/lib/locum) if that runs, else this machine's service.
            Exit codes: 0 done, 1 failed, 3 not found, 4 daemon not reachable, 64 wrong usage.
            Shell completions: locum --generate-completion-script bash|zsh|fish
            """,
        version: LocumVersion.text,
        subcommands: [
            Up.self, Plan.self, Deploy.self, List.self, Describe.self, Remove.self, Verify.self, Backup.self,
            Restore.self, Repair.self, Generate.self, Chat.self, Invoke.self, Processes.self, Evict.self, Status.self,
            Events.self, Logs.self, TenantCommand.self, KeyCommand.self, UsageCommand.self, ConfigCommand.self,
            Doctor.self,
            Trace.self, VersionCommand.self,
        ])

    public init() {}
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        print(json ? "{\"version\": \"\(LocumVersion.text)\"}" : "locum \(LocumVersion.text)")
    }
}

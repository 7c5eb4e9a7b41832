// What the daemons are set to: `locum config check` before they read it, `locum config show` with where each value is from.
import ArgumentParser
import FoundationEssentials
import Glibc
import Settings

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check and show the settings of the daemons.",
        discussion: """
            A flag goes before the environment, that before the file, and what is set nowhere is the daemons' own choice.
            The environment is that of this command. `systemctl reload locum-control locum-node`, or SIGHUP to a daemon,
            makes it read its settings again; those that `show` marks with restart take a restart.
            """,
        subcommands: [Check.self, Show.self])

    static let standardFile = "/etc/locum/locum.yaml"

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say everything that is wrong with the settings.",
            discussion: "Exit code 1 when anything is; the daemons would not start with it.")
        @Argument(help: "The file.", completion: .file()) var file = ConfigCommand.standardFile

        func run() throws {
            try reporting {
                let settings = try SettingsSource(file: DataFolder.absolute(file)).read()
                let missing = ["tls-certificate", "tls-key"].compactMap { name -> String? in
                    guard let path = settings[name], let origin = settings.origin(name), access(path, F_OK) != 0 else {
                        return nil
                    }
                    return "\(origin): \(name): cannot find \(path): \(String(cString: strerror(errno)))"
                }
                guard missing.isEmpty else { throw SettingsError(missing) }
                write(text: "\(file): nothing is wrong\n")
            }
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show every setting, its value and where that is from.",
            discussion: """
                As daemons that are started now would have them; with --config, and with settings on the command line, as
                `locum up` would.
                """)
        @Option(
            help: ArgumentHelp(
                "Read this file; default: \(ConfigCommand.standardFile), if it is there.", valueName: "file"),
            completion: .file())
        var config: String?
        @OptionGroup(title: "Settings") var settings: SettingOptions
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            try reporting {
                let standard = access(ConfigCommand.standardFile, F_OK) == 0 ? ConfigCommand.standardFile : nil
                let file = config.map(DataFolder.absolute) ?? standard
                let rows = SettingReport.all(try SettingsSource(file: file, flags: settings.given).read())
                if json {
                    let encoder = JSONEncoder()
                    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                    return write(text: String(decoding: try encoder.encode(rows), as: UTF8.self) + "\n")
                }
                var table = Table(["SETTING", "VALUE", "FROM", "A CHANGE TAKES"])
                for row in rows { table.add([row.name, row.value, row.origin, row.reload ? "reload" : "restart"]) }
                write(text: table.text)
            }
        }
    }
}

/// A row of `locum config show --json`.
struct SettingReport: Codable, Equatable {
    let name: String
    /// As it was written; for `default` what the daemon does, in words where it chooses.
    let value: String
    /// A flag, a variable, a file and its line, or `default`.
    let origin: String
    /// Whether a daemon that runs can take a change over.
    let reload: Bool

    static func all(_ settings: ServiceSettings) -> [SettingReport] {
        Setting.all.map { setting in
            SettingReport(
                name: setting.name, value: settings[setting.name] ?? setting.standard,
                origin: settings.origin(setting.name).map { "\($0)" } ?? "default", reload: setting.isReloadable)
        }
    }
}

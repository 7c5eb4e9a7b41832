// `locum up`: node and control in the foreground with a data folder of their own. This process only watches:
// it holds the folder's lock and the write end of a pipe, starts both daemons, starts one again that died,
// and ends them when it is told to. When it is killed outright the pipe closes and they end by themselves.
import ArgumentParser
import CLinux
import Glibc
import Settings
import Syscall

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run Locum in the foreground.",
        discussion: """
            Prints one line that begins with `ready` and holds the URL. Ctrl-C or SIGTERM ends it and everything
            it started. A daemon that dies is started again. SIGHUP makes the daemons read their settings again where there
            is no terminal, and ends it where there is one.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Option(
        help: ArgumentHelp(
            "Read settings that are not given here from this file, like /etc/locum/locum.yaml; those of the environment "
                + "(LOCUM_MEMORY, ...) go before it. See `locum config`.", valueName: "file"), completion: .file())
    var config: String?
    @OptionGroup(title: "Settings") var settings: SettingOptions

    /// One per CPU, as far as workers can have them.
    static var standardThreads: Int { max(1, min(Int(locum_allowed_cpus(nil, 0)), 64)) }

    func validate() throws { try settings.validate() }

    func run() throws {
        try reporting {
            let source = SettingsSource(file: config.map(DataFolder.absolute), flags: settings.given)
            // The daemons read them again; whoever typed the command hears of it once, and before anything begins.
            _ = try source.read()
            let folder = daemon.folder
            let lock = try FolderLock.take(folder)
            var supervisor = try Supervisor(folder: folder, settings: source)
            let code = try withExtendedLifetime(lock) { try supervisor.run() }
            throw ExitCode(code)
        }
    }
}

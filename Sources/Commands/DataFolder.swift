// Where a daemon keeps its things, and how a command finds it.
import ArgumentParser
import ControlClient
import Glibc
import Link
import Syscall

/// The data folder of a daemon.
enum DataFolder {
    /// `/var/lib/locum` for root, else under the home folder.
    static var standard: String {
        if geteuid() == 0 { return "/var/lib/locum" }
        let home = getenv("HOME").map { String(cString: $0) } ?? "."
        return home + "/.local/share/locum"
    }

    static func resolve(_ given: String?) -> String { absolute(named(given) ?? standard) }

    private static func named(_ given: String?) -> String? {
        let name = given ?? getenv("LOCUM_DATA").map { String(cString: $0) } ?? ""
        return name.isEmpty ? nil : name
    }

    /// Where the sockets of a service are that systemd runs on this machine.
    static let service = "/run/locum"

    /// The folder of the daemon's sockets: of the one that is named, of the person's own if it runs, else of the service
    /// if the person may use it.
    static func sockets(_ given: String?) -> String {
        let own = resolve(given) + "/run"
        // A tenant's user has invoke.sock alone.
        let isOpen = ["admin", "invoke"].contains { access("\(service)/\($0).sock", R_OK | W_OK) == 0 }
        guard named(given) == nil, isOpen else { return own }
        return (try? UnixSocket.connect("\(own)/admin.sock", kind: .stream)) == nil ? service : own
    }

    /// What to do when no daemon is found.
    static func hint(_ given: String?) -> String {
        guard named(given) == nil, access("\(service)/admin.sock", F_OK) == 0 else {
            let option = named(given) == nil ? "" : " --data \(resolve(given))"
            return "Start one with `locum up\(option)`, or name its folder with --data or LOCUM_DATA."
        }
        return "The service of this machine may be used by root and members of the group locum "
            + "(`usermod -aG locum NAME`, then log in again); `systemctl status locum-control` says how it is."
    }

    /// A path without links, dots or a slash at the end; as it is when there is nothing there.
    static func real(_ path: String) -> String {
        guard let raw = realpath(path, nil) else { return absolute(path) }
        defer { free(raw) }
        return String(cString: raw)
    }

    static func absolute(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        if path.hasPrefix("/") { return path }
        guard let raw = getcwd(nil, 0) else { return path }
        defer { free(raw) }
        return String(cString: raw) + "/" + path
    }
}

/// `--data`, shared by all commands that talk to a daemon.
struct DaemonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The daemon's data folder (LOCUM_DATA).", valueName: "dir"), completion: .directory)
    var data: String?

    var folder: String { DataFolder.resolve(data) }
    var sockets: String { DataFolder.sockets(data) }
    var invokeSocket: String { sockets + "/invoke.sock" }
    var client: ControlClient { ControlClient(socket: sockets + "/admin.sock", hint: DataFolder.hint(data)) }

    /// Whether who calls may invoke functions here and administer nothing, as a tenant's user.
    var isTenants: Bool {
        access(sockets + "/admin.sock", R_OK | W_OK) != 0 && errno == EACCES && access(invokeSocket, R_OK | W_OK) == 0
    }

    /// A connection on which functions are acquired.
    func connect() throws -> InvokeConnection {
        let path = invokeSocket
        do { return try InvokeConnection(path: path) } catch { throw unreachable(path, error) }
    }

    func unreachable(_ path: String, _ error: any Error) -> ControlError {
        ControlError(
            kind: .unreachable, code: "unreachable",
            message: "no Locum daemon answers at \(path) (\(error)). \(DataFolder.hint(data))")
    }
}

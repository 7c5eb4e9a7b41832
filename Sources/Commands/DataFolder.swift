// Where a daemon keeps its things, and how a command finds it.
import ArgumentParser
import ControlClient
import Glibc
import Link

/// The data folder of a daemon.
enum DataFolder {
    /// `/var/lib/locum` for root, else under the home folder.
    static var standard: String {
        if geteuid() == 0 { return "/var/lib/locum" }
        let home = getenv("HOME").map { String(cString: $0) } ?? "."
        return home + "/.local/share/locum"
    }

    static func resolve(_ given: String?) -> String {
        let named = given ?? getenv("LOCUM_DATA").map { String(cString: $0) } ?? ""
        return absolute(named.isEmpty ? standard : named)
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
    var client: ControlClient { ControlClient(data: folder) }

    /// A connection on which functions are acquired.
    func connect() throws -> InvokeConnection {
        let path = folder + "/run/invoke.sock"
        do { return try InvokeConnection(path: path) } catch {
            throw ControlError(
                kind: .unreachable, code: "unreachable",
                message: "no Locum daemon answers at \(path) (\(error)). Start one with `locum up`.")
        }
    }
}

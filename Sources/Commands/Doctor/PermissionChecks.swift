// Who runs Locum, and what that one may do: programs, folders.
import Glibc

enum PermissionChecks {
    /// - Parameter run: where the sockets are.
    static func all(_ folder: FolderFacts, run: FolderFacts) -> [Check] {
        [user(), programs(), data(folder), sockets(run)]
    }

    private static func user() -> Check {
        let id = geteuid()
        let name = getpwuid(id).map { String(cString: $0.pointee.pw_name) }
        let who = "\(name ?? "user") (uid \(id))"
        let status = HostFile.text("/proc/self/status") ?? ""
        let held = HostFile.field("CapEff", in: status).flatMap { UInt64($0, radix: 16) }
        guard id == 0 else {
            return .ok("user", "\(who): each worker gets a user namespace with this one id")
        }
        // What the zygote and its workers are started with, in the order of their numbers.
        let needed: [(String, UInt64)] = [("SETGID", 6), ("SETUID", 7), ("SETPCAP", 8), ("SYS_ADMIN", 21)]
        let missing = held.map { held in needed.filter { held >> $0.1 & 1 == 0 }.map { "CAP_\($0.0)" } } ?? []
        guard missing.isEmpty else {
            return .problem(
                "user", "\(who) without \(missing.joined(separator: ", "))",
                "workers cannot get uids and namespaces of their own: give Locum these capabilities, or run it as an "
                    + "ordinary user")
        }
        return .ok("user", "\(who): each worker gets a uid of its own")
    }

    private static func programs() -> Check {
        let folder = Installation.folder
        let missing = ["locum-node", "locum-control", "locum-zygote", "locum-import"].compactMap { name -> String? in
            access("\(folder)/\(name)", X_OK) == 0 ? nil : "\(name): \(Trial.reason(errno))"
        }
        guard !missing.isEmpty else { return .ok("programs", folder) }
        return .problem(
            "programs", "\(folder): \(missing.joined(separator: "; "))",
            "install Locum whole (make install)")
    }

    private static func data(_ folder: FolderFacts) -> Check {
        let name = "data_folder"
        guard folder.isFolder else {
            return .problem(name, "\(folder.nearest) is no folder", "choose another data folder (--data)")
        }
        guard folder.isUsable else {
            let reason = Trial.reason(errno)
            return .problem(
                name, "\(folder.nearest): \(reason) (mode \(folder.mode), uid \(folder.info.st_uid))",
                "Locum must be able to write there: chown it, or choose another data folder (--data)")
        }
        guard folder.exists else { return .ok(name, "\(folder.path) is not there yet; `locum up` makes it") }
        let found = "\(folder.path) (mode \(folder.mode), uid \(folder.info.st_uid))"
        var advice: [String] = []
        // A service's folder is open; those in it are not.
        let inside = ["shards", "registry.sqlite"].map { FolderFacts("\(folder.path)/\($0)") }
        if folder.info.st_mode & 0o077 != 0, inside.contains(where: { $0.exists && $0.info.st_mode & 0o077 != 0 }) {
            advice.append("others of this host can read models and registry: chmod 700 \(folder.path)")
        }
        if folder.info.st_uid != geteuid() {
            advice.append("it belongs to another user, who may then not be able to use what this one writes")
        }
        return advice.isEmpty ? .ok(name, found) : .note(name, found, advice.joined(separator: ". "))
    }

    private static func sockets(_ run: FolderFacts) -> Check {
        guard run.exists else { return .ok("run_folder", "\(run.path) is not there yet; `locum up` makes it") }
        guard run.isFolder, run.isUsable else {
            return .problem(
                "run_folder",
                "\(run.path): \(run.isFolder ? Trial.reason(errno) : "no folder") (mode \(run.mode), uid \(run.info.st_uid))",
                "the sockets lie there: chown it, or remove it while Locum does not run")
        }
        let sockets = HostFile.names(run.path).filter { $0.hasSuffix(".sock") }
        return .ok("run_folder", run.path + (sockets.isEmpty ? "" : ": " + sockets.joined(separator: ", ")))
    }
}

// What `locum up` or a unit gives control. Not for people, so it is read strictly and without a library.
import CLinux
import Glibc
import Settings
import Systemd

struct ControlArguments: Sendable {
    struct Unusable: Error, CustomStringConvertible { let description: String }

    var data = ""
    /// Folder of the sockets.
    var run = ""
    /// Members of this group may administer, too.
    var group: UInt32?
    var source = SettingsSource()
    var settings = ServiceSettings()
    var lifeline: Int32 = -1
    /// Not to serve, but to repair the registry: `text` or `json` says how the report is to look.
    var repair: String?
    /// Listening sockets that the service manager passed: `admin`, `http`.
    var sockets: [String: Int32] = [:]

    var adminSocket: String { run + "/admin.sock" }
    var host: String { settings.listen?.host ?? "127.0.0.1" }
    var port: Int { settings.listen?.port ?? 8420 }
    /// One per CPU, as far as workers can have them.
    var threads: Int { settings.threads ?? max(1, min(Int(locum_allowed_cpus(nil, 0)), 64)) }

    init(_ words: [String]) throws {
        var flags: [(name: String, value: String)] = []
        var rest = words.dropFirst()
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else { throw Unusable(description: "\(name) needs a value") }
            flags.append((name, value))
        }
        for (name, value) in flags {
            switch name {
            case "--config": source.file = value
            case "--data": data = value
            case "--run": run = value
            case "--group": group = try Account.group(value)
            case _ where name.hasPrefix("--") && Setting.named(name.dropFirst(2)) != nil:
                source.flags.append((String(name.dropFirst(2)), value))
            case "--repair":
                guard ["text", "json"].contains(value) else { throw Unusable(description: "--repair text or json") }
                repair = value
            case "--lifeline":
                guard let number = Int32(value), number > 2 else {
                    throw Unusable(description: "--lifeline needs a descriptor's number, not '\(value)'")
                }
                lifeline = number
            default: throw Unusable(description: "\(name) is no option of locum-control")
            }
        }
        settings = try source.read()
        guard !data.isEmpty else {
            throw Unusable(
                description:
                    "usage: locum-control --data DIR [--config FILE] [--SETTING VALUE ...] [--run DIR] [--group GROUP] "
                    + "[--lifeline FD]; `locum config show` lists the settings")
        }
        if run.isEmpty { run = data + "/run" }
        sockets = try ListenDescriptors.take(["admin": .unixStream, "http": .stream])
    }
}

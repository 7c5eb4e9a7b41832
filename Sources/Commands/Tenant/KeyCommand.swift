// Keys that tenants, and the operator from afar, show with their requests.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel
import Glibc

struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Make, list and revoke keys.",
        subcommands: [Create.self, List.self, Revoke.self])

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key and print it.",
            discussion: """
                The key is shown this once; Locum keeps only what it needs to recognise it. A client sends it as
                `Authorization: Bearer KEY`, as OpenAI's do with api_key. Without a tenant it is the operator's: --admin opens
                over HTTP what this command uses (all models, /admin, /metrics), --metrics only GET /metrics. From the
                first key on every request needs one.
                """)
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "Whose it is to be.") var tenant: String?
        @Flag(help: "A key to administer with.") var admin = false
        @Flag(help: "A key for Prometheus.") var metrics = false
        @Flag(help: "Print JSON.") var json = false

        private var role: OperatorRole? { admin ? .admin : metrics ? .metrics : nil }

        func validate() throws {
            guard [tenant != nil, admin, metrics].count(where: { $0 }) == 1 else {
                throw ValidationError("name a tenant, or say --admin or --metrics: one of the three.")
            }
            if let tenant { try Name.check(tenant) }
        }

        func run() throws {
            try reporting {
                let path = tenant.map { "/admin/tenants/" + Path.component($0) + "/keys" } ?? "/admin/keys"
                let body = try JSONEncoder().encode(["role": role])
                let answer = try daemon.client.request("POST", path, body: body)
                if json { return write(bytes: Array(answer)) }
                // Alone, for $(locum key create …).
                write(text: try JSONDecoder().decode(NewKey.self, from: answer).key + "\n")
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List keys by how they begin.", aliases: ["ls"])
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "Only this tenant's.") var tenant: String?
        @Flag(help: "Print JSON.") var json = false

        func validate() throws { if let tenant { try Name.check(tenant) } }

        func run() throws {
            try reporting {
                var keys: [KeyReport]
                if let tenant {
                    keys = try daemon.client.get("/admin/tenants/" + Path.component(tenant), as: TenantReport.self).keys
                } else {
                    keys = try daemon.client.get("/admin/keys")
                }
                keys.sort { ($0.tenant ?? "", $0.createdAt, $0.id) < ($1.tenant ?? "", $1.createdAt, $1.id) }
                write(
                    text: json
                        ? String(decoding: try JSONEncoder().encode(keys), as: UTF8.self) + "\n" : Keys.table(keys))
            }
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a key at once.", discussion: "What was asked for with it before is finished.")
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "How the key begins, as `locum key list` shows it.") var key: String
        @Flag(help: "Print JSON.") var json = false

        func validate() throws { try Name.check(key) }

        func run() throws {
            try reporting {
                let answer = try daemon.client.request("DELETE", "/admin/keys/" + Path.component(key))
                if json { return write(bytes: Array(answer)) }
                let it = try JSONDecoder().decode(KeyReport.self, from: answer)
                write(text: "revoked \(it.id)… \(it.owner)\(try Keys.opens(daemon) ? Keys.open : "")\n")
            }
        }
    }
}

enum Keys {
    static let open = "; requests need no key now"

    /// Whether there is neither a tenant nor a key any more, so that the HTTP API is open to everybody.
    static func opens(_ daemon: DaemonOptions) throws -> Bool {
        try daemon.client.get("/admin/tenants", as: [TenantReport].self).isEmpty
            && daemon.client.get("/admin/keys", as: [KeyReport].self).isEmpty
    }

    static func table(_ keys: [KeyReport]) -> String {
        var table = Table(["KEY", "TENANT", "ROLE", "MADE", "LAST USED"])
        for key in keys {
            table.add([
                key.id + "…", key.tenant ?? "-", key.role?.rawValue ?? "-", Human.date(key.createdAt),
                key.lastUsed.map(Human.date) ?? "never",
            ])
        }
        return table.text
    }
}

extension Human {
    /// `2026-11-22 14:03:07Z`.
    static func date(_ seconds: Int64) -> String {
        var (time, parts) = (time_t(seconds), tm())
        guard gmtime_r(&time, &parts) != nil else { return "\(seconds)" }
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }
}

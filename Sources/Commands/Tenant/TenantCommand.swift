// Tenants: who may use this box, and how much of it.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel
import Settings

struct TenantCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenant", abstract: "Say who may use this box, and how much of it.",
        discussion: """
            Without a tenant everybody who reaches the HTTP API may use every model. With the first one, every request needs a
            key (`locum key create`). Commands of this program ask as the operator and need none.
            """,
        subcommands: [Create.self, List.self, Describe.self, Set.self, Remove.self])

    /// What a tenant may use, as far as it is said.
    struct Limits: ParsableArguments {
        @Option(help: "Share against other tenants that want the same router, 1 to 1000; default: 1.") var weight: Int?
        @Option(help: "interactive, or batch: runs where there is room and lets interactive requests pass.")
        var priority: String?
        @Option(
            help: ArgumentHelp(
                "Whose requests its router computes: shared, with others' in one batch, which is the default; or private, a "
                    + "process of its own for each model.", valueName: "shared|private"))
        var router: String?
        @Option(
            help: ArgumentHelp(
                "Sequences at once, or unlimited, which is the default; more wait.", valueName: "n|unlimited"))
        var maxRequests: String?
        @Option(help: "Sequences that may wait, 0 to 1024; more get 429. Default: 64.") var queue: Int?
        @Option(
            help: ArgumentHelp(
                "Tokens per minute, of prompts and answers, or unlimited, which is the default.",
                valueName: "n|unlimited"))
        var tokensPerMinute: String?
        @Option(
            help: ArgumentHelp(
                "A model that it may use beside its own; give it for each one, of another tenant's as NAME@TENANT, or `all` of "
                    + "the operator's, which is the default.", valueName: "name"))
        var model: [String] = []

        @Option(
            help: ArgumentHelp(
                "The user of this host who deploys and invokes for it (a number, see `id -u`), or none, which is the default.",
                valueName: "uid|none"))
        var uid: String?
        @Option(
            help: ArgumentHelp(
                "What the shards of its own models may take on disk, like 20G, or unlimited, which is the default.",
                valueName: "size|unlimited"))
        var disk: String?
        @Option(
            help: ArgumentHelp(
                "Memory that its own models may need at least, all together, like 4G, or unlimited, which is the default.",
                valueName: "size|unlimited"))
        var memory: String?
        @Option(
            help: ArgumentHelp(
                "Memory for keys and values that its requests may have at a model, like 512M, or unlimited, which is the "
                    + "default. More of them wait for each other.", valueName: "size|unlimited"))
        var kvMemory: String?

        func validate() throws {
            func check(_ option: String, _ value: Int?, _ range: ClosedRange<Int>) throws {
                if let value, !range.contains(value) {
                    throw ValidationError("\(option) \(value): must be \(range.lowerBound) to \(range.upperBound).")
                }
            }
            try check("--weight", weight, TenantLimits.weights)
            try check("--queue", queue, TenantLimits.queues)
            try check("--max-requests", Self.number("--max-requests", maxRequests), TenantLimits.requests)
            try check("--tokens-per-minute", Self.number("--tokens-per-minute", tokensPerMinute), TenantLimits.rates)
            if let priority, PriorityClass(rawValue: priority) == nil {
                throw ValidationError("--priority \(priority): must be interactive or batch.")
            }
            if let router, RouterSharing(rawValue: router) == nil {
                throw ValidationError("--router \(router): must be shared or private.")
            }
            if model.contains("all"), model.count > 1 {
                throw ValidationError("--model all stands alone: it means every model.")
            }
            for name in model { try Name.check(name) }
            try check("--uid", Self.number("--uid", uid, unset: "none"), TenantLimits.uids)
            _ = try (Self.size("--disk", disk), Self.size("--memory", memory), Self.size("--kv-memory", kvMemory))
        }

        private static func size(_ option: String, _ text: String?) throws -> Int? {
            guard let text, text != "unlimited" else { return nil }
            guard let bytes = Quantity.bytes(text) else {
                throw ValidationError("\(option) \(text): must be a size like 20G, or unlimited.")
            }
            return bytes
        }

        private static func number(
            _ option: String, _ text: String?, unset: String = "unlimited"
        ) throws -> Int? {
            guard let text, text != unset else { return nil }
            guard let number = Int(text) else {
                throw ValidationError("\(option) \(text): must be a number, or \(unset).")
            }
            return number
        }

        /// The request's members; null takes a limit away.
        func members() throws -> [String: Member] {
            var members: [String: Member] = [:]
            members["weight"] = weight.map { .number($0) }
            members["priority"] = priority.map { .text($0) }
            members["router"] = router.map { .text($0) }
            members["queue"] = queue.map { .number($0) }
            if let maxRequests {
                members["max_requests"] = try Self.number("--max-requests", maxRequests).map { .number($0) } ?? .null
            }
            if let tokensPerMinute {
                members["tokens_per_minute"] =
                    try Self.number("--tokens-per-minute", tokensPerMinute).map { .number($0) } ?? .null
            }
            if let uid { members["uid"] = try Self.number("--uid", uid, unset: "none").map { .number($0) } ?? .null }
            if let disk { members["disk"] = try Self.size("--disk", disk).map { .number($0) } ?? .null }
            if let memory { members["memory"] = try Self.size("--memory", memory).map { .number($0) } ?? .null }
            if let kvMemory {
                members["kv_memory"] = try Self.size("--kv-memory", kvMemory).map { .number($0) } ?? .null
            }
            if !model.isEmpty { members["models"] = model == ["all"] ? .null : .names(model) }
            return members
        }
    }

    /// A value in a request.
    enum Member: Encodable {
        case null
        case number(Int)
        case text(String)
        case names([String])

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .null: try container.encodeNil()
            case .number(let value): try container.encode(value)
            case .text(let value): try container.encode(value)
            case .names(let value): try container.encode(value)
            }
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a tenant.", discussion: "It can ask for nothing until `locum key create` makes it a key.")
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "What to call it.") var name: String
        @OptionGroup var limits: Limits
        @Flag(help: "Print JSON.") var json = false

        func validate() throws { try Name.check(name) }

        func run() throws {
            try reporting {
                let members = try limits.members().merging(["name": .text(name)]) { $1 }
                let answer = try daemon.client.request("POST", "/admin/tenants", body: JSONEncoder().encode(members))
                write(text: json ? String(decoding: answer, as: UTF8.self) : "made tenant \(name)\n")
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List tenants.", aliases: ["ls"])
        @OptionGroup var daemon: DaemonOptions
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            try reporting {
                let answer = try daemon.client.request("GET", "/admin/tenants")
                if json { return write(bytes: Array(answer)) }
                var table = Table(
                    [
                        "NAME", "WEIGHT", "PRIORITY", "ROUTER", "AT ONCE", "QUEUE", "TOKENS/MIN", "MODELS", "KEYS",
                        "ACTIVE", "WAITING",
                    ],
                    right: [1, 4, 5, 6, 8, 9, 10])
                for tenant in try JSONDecoder().decode([TenantReport].self, from: answer) {
                    let limits = tenant.limits
                    table.add([
                        tenant.name, "\(limits.weight)", limits.priority.rawValue, limits.router.rawValue,
                        text(limits.maxRequests), "\(limits.queue)", text(limits.tokensPerMinute),
                        limits.models?.joined(separator: ",") ?? "all",
                        "\(tenant.keys.count)", "\(tenant.active)", "\(tenant.waiting)",
                    ])
                }
                write(text: table.text)
            }
        }

        private func text(_ limit: Int?) -> String { limit.map { "\($0)" } ?? "-" }
    }

    struct Describe: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a tenant and its keys.")
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "Its name.") var name: String
        @Flag(help: "Print JSON.") var json = false

        func validate() throws { try Name.check(name) }

        func run() throws {
            try reporting {
                let answer = try daemon.client.request("GET", "/admin/tenants/" + Path.component(name))
                if json { return write(bytes: Array(answer)) }
                let it = try JSONDecoder().decode(TenantReport.self, from: answer)
                let limits = it.limits
                func text(_ limit: Int?) -> String { limit.map { "\($0)" } ?? "unlimited" }
                let facts: [(String, String)] = [
                    ("name", it.name), ("made", Human.date(it.createdAt)), ("weight", "\(limits.weight)"),
                    ("priority", limits.priority.rawValue), ("router", limits.router.rawValue),
                    ("at once", text(limits.maxRequests)),
                    ("queue", "\(limits.queue)"), ("tokens per minute", text(limits.tokensPerMinute)),
                    ("models", limits.models?.joined(separator: ", ") ?? "all of the operator's"),
                    ("user", limits.uid.map { "\($0)" } ?? "none"),
                    ("disk", limits.disk.map(Human.bytes) ?? "unlimited"),
                    ("memory", limits.memory.map(Human.bytes) ?? "unlimited"),
                    ("keys and values", limits.kvMemory.map(Human.bytes) ?? "unlimited"),
                    ("sequences", "\(it.active) active, \(it.waiting) waiting"),
                ]
                for (name, value) in facts { write(text: name.padded(19) + value + "\n") }
                write(text: Keys.table(it.keys))
            }
        }
    }

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change what a tenant may use.", discussion: "What it has under way goes on.")
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "Its name.") var name: String
        @OptionGroup var limits: Limits
        @Flag(help: "Print JSON.") var json = false

        func validate() throws {
            try Name.check(name)
            if try limits.members().isEmpty { throw ValidationError("say what to change, as in --weight 2.") }
        }

        func run() throws {
            try reporting {
                let body = try JSONEncoder().encode(limits.members())
                let answer = try daemon.client.request("PATCH", "/admin/tenants/" + Path.component(name), body: body)
                write(text: json ? String(decoding: answer, as: UTF8.self) : "changed tenant \(name)\n")
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove a tenant and its keys.",
            discussion: """
                What it has under way is finished. One that has models is not removed without --models. Without any tenant or
                key, requests need no key again.
                """)
        @OptionGroup var daemon: DaemonOptions
        @Argument(help: "Its name.") var name: String
        @Flag(help: "Remove its models, too.") var models = false
        @Flag(help: "Print JSON.") var json = false

        func validate() throws { try Name.check(name) }

        func run() throws {
            try reporting {
                let answer = try daemon.client.request(
                    "DELETE", "/admin/tenants/" + Path.component(name) + (models ? "?models=true" : ""))
                if json { return write(bytes: Array(answer)) }
                write(text: "removed tenant \(name)\(try Keys.opens(daemon) ? Keys.open : "")\n")
            }
        }
    }
}

// `locum events` and `locum logs`: what happens, and what control says of itself, a line each.
import ArgumentParser
import FunctionModel

struct Events: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what happens: starts, evictions, crashes, deployments, tenants and keys.",
        discussion: """
            The latest ones since the daemon began, some thousand at most. With --json each line is an object; `number`
            counts them, so that a gap shows.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Flag(name: .shortAndLong, help: "Go on with what happens next, until interrupted.") var follow = false
    @Flag(help: "Print JSON, a line each.") var json = false

    func run() throws {
        try reporting {
            let query = follow ? [("follow", "true")] : []
            try FeedReader.print("/admin/events", query, daemon, json: json, text: Self.text, gaps: true)
        }
    }

    private static func text(_ event: EventReport) -> (String, Int) {
        let kind = event.kind.rawValue.replacing("_", with: " ")
        return ("\(Human.date(event.time / 1000))  \(kind.padded(12))\(event.message)", event.number)
    }
}

struct Logs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the log of locum-control, or what in it is about a function or a request.",
        discussion: """
            The latest lines since it began, some thousand at most. Of a service the journal has all, node's lines as well:
            `journalctl -u locum-control -u locum-node`.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "A model, a function by its full name, or a request by its X-Request-Id.") var function: String?
    @Flag(name: .shortAndLong, help: "Go on with what is logged next, until interrupted.") var follow = false
    @Flag(help: "Print JSON, a line each.") var json = false

    func validate() throws { if let function { try Name.check(function) } }

    func run() throws {
        try reporting {
            var query = follow ? [("follow", "true")] : []
            if let function { query.append(("function", function)) }
            try FeedReader.print(
                "/admin/logs", query, daemon, json: json, text: Self.text, gaps: function == nil)
        }
    }

    private static func text(_ entry: LogReport) -> (String, Int) {
        let fields = entry.fields.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        return ("\(Human.date(entry.time / 1000))  \(entry.level.padded(9))\(entry.message)\(fields)", entry.number)
    }
}

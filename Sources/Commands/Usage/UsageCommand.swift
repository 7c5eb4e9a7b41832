// What tenants have used: for bills, and to see who needs the box.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Show what was used, by tenant, model and key.",
        discussion: """
            Counted since a box was set up, for 400 days: requests; tokens of prompts, those of them that a prompt cache had, and
            of answers; CPU time of experts (of each batch the part of one's rows); megabytes times seconds of memory; and
            functions that were started for it. Use without a tenant is shown as -. Times are whole hours of UTC: what
            happened from 14:05 on is in the hour of 14:00.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Option(help: "Only this tenant's.") var tenant: String?
    @Option(help: ArgumentHelp("Only hours that begin then or later.", valueName: "2026-11-22[T14[:00]]")) var from:
        String?
    @Option(help: ArgumentHelp("Only hours that begin earlier.", valueName: "2026-12-01[T00[:00]]")) var to: String?
    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "Print comma-separated values with a heading.") var csv = false

    func validate() throws {
        if let tenant { try Name.check(tenant) }
        if json, csv { throw ValidationError("--json and --csv: say one.") }
        for (option, text) in [("--from", from), ("--to", to)] {
            if let text, Self.seconds(text) == nil {
                throw ValidationError("\(option) \(text): must be a date, as 2026-11-22 or 2026-11-22T14:00.")
            }
        }
    }

    func run() throws {
        try reporting {
            var query: [String] = []
            if let tenant { query.append("tenant=" + Path.component(tenant)) }
            if let from = from.flatMap(Self.seconds) { query.append("from=\(from)") }
            if let to = to.flatMap(Self.seconds) { query.append("to=\(to)") }
            let path = "/admin/usage" + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
            let answer = try daemon.client.request("GET", path)
            if json { return write(bytes: Array(answer)) }
            let rows = try JSONDecoder().decode([UsageRow].self, from: answer)
            write(text: csv ? Self.csv(rows) : Self.table(rows))
        }
    }

    /// Seconds since 1970 of `YYYY-MM-DD`, `YYYY-MM-DDTHH` or `YYYY-MM-DDTHH:MM`, with or without a Z; UTC.
    static func seconds(_ text: String) -> Int64? {
        let text = text.hasSuffix("Z") ? String(text.dropLast()) : text
        let rest = "0000-00-00T00:00:00".dropFirst(text.count)
        guard [10, 13, 16].contains(text.count), let date = try? Date(text + rest + "Z", strategy: .iso8601),
            // The 30th of February is none.
            date.formatted(.iso8601).hasPrefix(text), date.timeIntervalSince1970 >= 0
        else { return nil }
        return Int64(date.timeIntervalSince1970)
    }

    private static func cells(_ row: UsageRow) -> [String] {
        [
            row.tenant, row.model, row.key, "\(row.requests)", "\(row.promptTokens)", "\(row.cachedTokens)",
            "\(row.outputTokens)", Human.fixed(row.expertTime, 3), Human.fixed(row.memoryTime, 3), "\(row.coldStarts)",
        ]
    }

    /// Names and keys hold neither commas nor quotes.
    private static func csv(_ rows: [UsageRow]) -> String {
        let headings = UsageRow.CodingKeys.allCases.map(\.rawValue)
        return ([headings] + rows.map(cells)).map { $0.joined(separator: ",") + "\n" }.joined()
    }

    private static func table(_ rows: [UsageRow]) -> String {
        var table = Table(
            [
                "TENANT", "MODEL", "KEY", "REQUESTS", "PROMPT", "CACHED", "OUTPUT", "EXPERT MS", "MB·S", "COLD STARTS",
            ],
            right: Set(3...9))
        for row in rows {
            let cells = cells(row)
            table.add(
                [
                    row.tenant.isEmpty ? "-" : cells[0], cells[1], row.key.isEmpty ? "-" : cells[2] + "…",
                ] + cells[3...])
        }
        return table.text
    }
}

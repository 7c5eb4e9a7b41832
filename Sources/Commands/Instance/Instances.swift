// What runs: ps, evict, status.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel

struct Processes: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ps", abstract: "List live instances.")
    @OptionGroup var daemon: DaemonOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let answer = try daemon.client.request("GET", "/admin/instances")
            if json { return write(bytes: Array(answer)) }
            var table = Table(
                ["FUNCTION", "RUNTIME", "STATE", "PID", "PRIVATE", "SHARD", "AGE", "CALLS"], right: [3, 4, 5, 6, 7])
            for row in try JSONDecoder().decode([InstanceReport].self, from: answer) {
                table.add([
                    row.function, row.runtime.rawValue, row.state, "\(row.pid)",
                    Human.bytes(row.privateBytes), Human.bytes(row.shardResidentBytes),
                    "\(Human.fixed(row.ageSeconds, 1)) s", "\(row.invocations)",
                ])
            }
            write(text: table.text)
        }
    }
}

struct Evict: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End instances; returns when their processes are gone.",
        discussion: "Calls under way are finished first. The next request starts the function again.")
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "A model, or a function by its full name.") var target: String?
    @Flag(help: "Every instance.") var all = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        if all == (target != nil) { throw ValidationError("name a model or function, or give --all.") }
        if let target { try Name.check(target) }
    }

    func run() throws {
        try reporting {
            let body = try JSONEncoder().encode(EvictRequest(target: target ?? "--all"))
            let answer = try daemon.client.request("POST", "/admin/evict", body: body)
            if json { return write(bytes: Array(answer)) }
            let report = try JSONDecoder().decode(EvictReport.self, from: answer)
            write(text: "evicted \(report.evicted) instance\(report.evicted == 1 ? "" : "s")\n")
        }
    }
}

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show the daemon's counters and its sandbox.")
    @OptionGroup var daemon: DaemonOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let answer = try daemon.client.request("GET", "/admin/status")
            if json { return write(bytes: Array(answer)) }
            let it = try JSONDecoder().decode(StatusReport.self, from: answer)
            func milliseconds(_ microseconds: Int?) -> String {
                microseconds.map { "\(Human.fixed(Double($0) / 1000, 2)) ms" } ?? "-"
            }
            let facts: [(String, String)] = [
                ("version", it.version), ("node", "\(it.node), \(it.nodeConnected ? "connected" : "being started")"),
                ("up for", "\(Human.fixed(it.uptimeSeconds, 0)) s"), ("models", "\(it.models)"),
                ("instances", "\(it.instances)"),
                ("sequences", "\(it.sequencesActive) active, \(it.sequencesQueued) waiting"),
                ("cold starts", "\(it.coldStarts)"), ("warm acquisitions", "\(it.warmAcquisitions)"),
                (
                    "cold start",
                    "p50 \(milliseconds(it.coldStartMicroseconds.p50)), p99 \(milliseconds(it.coldStartMicroseconds.p99))"
                ),
                (
                    "memory",
                    "\(Human.bytes(it.memory.usedBytes)) of \(Human.bytes(it.memory.budgetBytes)): "
                        + "\(Human.bytes(it.memory.residentShardBytes)) shards, \(Human.bytes(it.memory.privateBytes)) processes, "
                        + "\(Human.bytes(it.memory.kvBytes)) sequences"
                ),
                ("invocations", "\(it.invocations)"), ("evictions", "\(it.evictions)"), ("crashes", "\(it.crashes)"),
            ]
            for (name, value) in facts { line(name, value) }
            write(text: "sandbox\n")
            for (name, state) in it.sandbox.sorted(by: { $0.key < $1.key }) { line("  " + name, state) }
        }
    }

    private func line(_ name: String, _ value: String) {
        write(text: name + String(repeating: " ", count: max(1, 20 - name.count)) + value + "\n")
    }
}

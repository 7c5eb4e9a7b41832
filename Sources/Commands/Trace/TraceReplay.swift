// `locum trace replay`: what a policy makes of a recording, by the code that decides in the daemon.
import ArgumentParser
import FoundationEssentials
import Glibc
import Scheduler
import Settings
import Syscall

struct TraceReplay: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "Simulate an eviction policy on a recording.",
        discussion: """
            Prints what share of calls would have found their expert in memory, the bytes read from disk, and the speed
            that follows, beside those of Belady's policy, which knows the future. No daemon is needed.
            """)

    @Argument(help: "A file that `locum trace record` wrote.", completion: .file()) var file: String
    @Option(help: "lru, lfu, gdsf, belady or locum.") var policy = "locum"
    @Option(help: ArgumentHelp("The whole memory budget, as for `locum up`.", valueName: "size")) var memory: String
    @Option(
        help: ArgumentHelp(
            "Bytes per second of the disk; default: measured on the shards of --data.", valueName: "size"))
    var disk: String?
    @Option(help: ArgumentHelp("A data folder whose disk counts.", valueName: "dir"), completion: .directory)
    var data: String?
    @Option(help: ArgumentHelp("Do not count what the first generated tokens read.", valueName: "tokens"))
    var warmup = 0
    @Flag(help: "Print JSON.") var json = false

    struct Report: Encodable {
        var policy: String
        var memoryBytes: Int
        var shardBytes: Int
        var tokens: Int
        var hitRate: Double
        var bytesRead: Int
        var predicted: Double
        var beladyHitRate: Double
        var beladyBytesRead: Int
        var boundTokensPerSecond: Double

        enum CodingKeys: String, CodingKey {
            case policy, tokens
            case memoryBytes = "memory_bytes"
            case shardBytes = "shard_bytes"
            case hitRate = "hit_rate"
            case bytesRead = "bytes_read"
            case predicted = "predicted_tokens_per_second"
            case beladyHitRate = "belady_hit_rate"
            case beladyBytesRead = "belady_bytes_read"
            case boundTokensPerSecond = "bound_tokens_per_second"
        }
    }

    func validate() throws {
        guard PolicyName(rawValue: policy) != nil else {
            let names = PolicyName.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--policy \(policy): must be one of \(names).")
        }
        guard Quantity.bytes(memory) != nil else { throw ValidationError("--memory \(memory): write a size like 3G.") }
        guard warmup >= 0 else { throw ValidationError("--warmup \(warmup): must not be negative.") }
        if let disk, Quantity.bytes(disk) == nil { throw ValidationError("--disk \(disk): write a size like 1.2G.") }
    }

    func run() throws {
        try reporting {
            let trace = try AccessTrace(decoding: try Self.read(file))
            guard let name = PolicyName(rawValue: policy), let budget = Quantity.bytes(memory) else { return }
            let speed =
                disk.flatMap(Quantity.bytes).map(Double.init)
                ?? DiskProbe.bytesPerSecond(folder: DataFolder.resolve(data) + "/shards")
            let shards = budget - trace.header.fixedBytes
            guard shards > 0 else {
                throw TraceRecord.Unusable(
                    description:
                        "a budget of \(budget) bytes leaves nothing for experts: daemons, router and processes "
                        + "take \(trace.header.fixedBytes)")
            }
            let result = try Replay.run(trace, policy: name, shardBudget: shards, warmup: warmup)
            guard result.tokens > 0 else {
                throw TraceRecord.Unusable(
                    description: "\(file) has no generated tokens beyond a warm-up of \(warmup); record more of them")
            }
            let best = try Replay.run(trace, policy: .belady, shardBudget: shards, warmup: warmup)
            let compute = Double(trace.header.computeNanoseconds) / 1e9
            let bound = max(compute, Double(best.bytesRead) / Double(max(1, best.tokens)) / speed)
            let report = Report(
                policy: policy, memoryBytes: budget, shardBytes: shards, tokens: result.tokens, hitRate: result.hitRate,
                bytesRead: result.bytesRead,
                predicted: 1
                    / max(
                        1e-9,
                        result.predictedSecondsPerToken(computeSecondsPerToken: compute, diskBytesPerSecond: speed)),
                beladyHitRate: best.hitRate, beladyBytesRead: best.bytesRead,
                boundTokensPerSecond: bound > 0 ? 1 / bound : 0)
            if json { return write(bytes: Array(try JSONEncoder().encode(report)) + [10]) }
            func line(_ name: String, _ value: String, _ best: String) {
                write(text: name.padded(16) + value.padded(16) + best + "\n")
            }
            line("", policy, "belady")
            line("hit rate", percent(report.hitRate), percent(report.beladyHitRate))
            line(
                "bytes read", Human.bytes(report.bytesRead),
                Human.bytes(report.beladyBytesRead))
            line(
                "tokens/s", Human.fixed(report.predicted, 1), "\(Human.fixed(report.boundTokensPerSecond, 1)) (bound)")
            write(
                text: "\(report.tokens) tokens; \(Human.bytes(shards)) for experts; "
                    + "disk \(Human.bytes(Int(speed)))/s\n")
        }
    }

    private func percent(_ share: Double) -> String { "\(Human.fixed(share * 100, 1)) %" }

    static func read(_ path: String) throws -> [UInt8] {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else {
            throw TraceRecord.Unusable(description: "cannot open \(path): \(String(cString: strerror(errno)))")
        }
        let file = Descriptor(owning: raw)
        var (bytes, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 1 << 20))
        while true {
            let got = try check(Glibc.read(file.raw, &buffer, buffer.count), "read \(path)")
            if got == 0 { return bytes }
            bytes += buffer.prefix(Int(got))
        }
    }
}

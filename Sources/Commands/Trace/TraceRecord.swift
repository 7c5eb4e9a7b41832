// `locum trace record`: which experts real requests call, per token and layer. The router itself says so, over the same
// link that a caller has; it says nothing of what was asked or answered, or by whom.
import ArgumentParser
import CLinux
import ControlClient
import FoundationEssentials
import FunctionModel
import Glibc
import Link
import Scheduler
import Syscall
import Wire

struct Trace: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Record which experts are called, and try eviction policies on the recording.",
        subcommands: [TraceRecord.self, TraceReplay.self])
}

struct TraceRecord: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record", abstract: "Record the experts that a model's requests call.",
        discussion: "Ends at Ctrl-C, or after --tokens. Requests go on as usual meanwhile.")

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Name of a deployed model.") var model: String
    @Option(help: "File to write.", completion: .file()) var out: String
    @Option(help: ArgumentHelp("End after so many generated tokens.", valueName: "n")) var tokens: Int?

    struct Unusable: Error, CustomStringConvertible { let description: String }

    func validate() throws {
        if let tokens, tokens < 1 { throw ValidationError("--tokens \(tokens): must be at least 1.") }
    }

    func run() throws {
        try reporting {
            let answer = try daemon.client.request("GET", "/admin/models/" + Path.component(model))
            var header = try Self.header(try JSONDecoder().decode(ModelDescription.self, from: answer))
            let connection = try daemon.connect()
            guard let link = try connection.acquire(named: [model + "/router"]).first else {
                throw Unusable(description: "node granted no link to \(model)")
            }
            let part = out + ".part"
            let file = Descriptor(
                owning: try check(open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644), "write \(part)"))
            do {
                // The time of a token is known at the end only; the header with it has the same length.
                try write(TraceEncoder(header).prefix, to: file)
                let recorded = try record(link, header, file)
                header.computeNanoseconds = recorded.nanosecondsPerToken
                let prefix = try TraceEncoder(header).prefix
                try check(pwrite(file.raw, prefix, prefix.count, 0), "write \(part)")
                try check(rename(part, out), "rename \(part) to \(out)")
                Commands.write(
                    text: "recorded \(recorded.rows) rows, \(recorded.tokens) of them generated, in \(out)\n")
            } catch {
                unlink(part)
                throw error
            }
        }
    }

    private struct Recorded {
        var rows = 0
        var tokens = 0
        /// Between two steps of one generated row each.
        var pauses: [UInt64] = []
        var lastSingle: UInt64?

        /// The quickest steps are those that found everything in memory.
        var nanosecondsPerToken: Int {
            pauses.isEmpty ? 0 : Int(clamping: pauses.sorted()[pauses.count / 10])
        }
    }

    private func record(_ link: Link, _ header: TraceHeader, _ file: Descriptor) throws -> Recorded {
        let numbers: [Int32] = [SIGINT, SIGTERM]
        let signals = Descriptor(owning: try check(locum_signal_descriptor(numbers, 2), "watch signals"))
        for frame in RouterFrame.cut(RouterCommand.watch, sequence: 1) {
            try Seqpacket.send(link.lanes[0].raw, frame.frame)
        }
        Commands.write(text: "recording \(model); Ctrl-C ends it\n", to: STDERR_FILENO)
        let encoder = try TraceEncoder(header)
        var (recorded, assembler) = (Recorded(), RouterAssembler())
        while recorded.tokens < tokens ?? .max {
            var watched = [
                pollfd(fd: link.lanes[0].raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.raw, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&watched, 2, -1) > 0 else { continue }
            if watched[1].revents != 0 { break }
            guard let packet = try Seqpacket.receive(link.lanes[0].raw) else {
                throw Unusable(description: "the router of \(model) ended; start the recording again")
            }
            let frame = try RouterFrame(frame: packet.bytes)
            guard let whole = try assembler.add(frame),
                case .routes(let step, let rows, let experts) = try RouterEvent(frame: whole)
            else { continue }
            try add(step, rows, experts, encoder, to: &recorded, file)
        }
        return recorded
    }

    private func add(
        _ step: UInt64, _ rows: [RouteRow], _ experts: [UInt16], _ encoder: TraceEncoder, to recorded: inout Recorded,
        _ file: Descriptor
    ) throws {
        let perRow = encoder.header.layers * encoder.header.expertsPerToken
        guard experts.count == rows.count * perRow else {
            throw Unusable(description: "the router sent \(experts.count) experts for \(rows.count) rows of \(perRow)")
        }
        var bytes: [UInt8] = []
        for (index, row) in rows.enumerated() {
            bytes += try encoder.record(
                TraceRow(
                    sequence: UInt32(truncatingIfNeeded: row.sequence), position: row.position, step: step,
                    isPrompt: row.isPrompt, experts: Array(experts[index * perRow..<(index + 1) * perRow])))
            recorded.tokens += row.isPrompt ? 0 : 1
        }
        recorded.rows += rows.count
        try write(bytes, to: file)
        let now = locum_monotonic_ns()
        let isSingle = rows.count == 1 && !rows[0].isPrompt
        if isSingle, let last = recorded.lastSingle { recorded.pauses.append(now - last) }
        recorded.lastSingle = isSingle ? now : nil
    }

    private func write(_ bytes: [UInt8], to file: Descriptor) throws {
        var done = 0
        while done < bytes.count {
            let wrote = bytes.withUnsafeBytes {
                Glibc.write(file.raw, $0.baseAddress.map { $0 + done }, bytes.count - done)
            }
            done += Int(try check(wrote, "write \(out)"))
        }
    }

    /// The model as a trace knows it.
    static func header(_ model: ModelDescription) throws -> TraceHeader {
        let functions = model.functions.filter { $0.runtime == .expert }
        let layers = Set(functions.flatMap { Array(FunctionLayer.ranges(of: $0.name).layers) }).sorted()
        var functionOf = [Int](repeating: -1, count: layers.count * model.experts)
        for (number, function) in functions.enumerated() {
            let (inLayers, experts) = FunctionLayer.ranges(of: function.name)
            for (ordinal, layer) in layers.enumerated() where inLayers.contains(layer) {
                for expert in experts where expert < model.experts {
                    functionOf[ordinal * model.experts + expert] = number
                }
            }
        }
        guard !layers.isEmpty, !functionOf.contains(-1) else {
            throw Unusable(description: "\(model.name) has no experts, or its functions do not cover them all")
        }
        let router = model.functions.first { $0.runtime == .router }?.bytes ?? 0
        return TraceHeader(
            model: model.name, layers: layers.count, experts: model.experts, expertsPerToken: model.expertsPerToken,
            functionBytes: functions.map { MemoryCost.pages($0.bytes) }, functionOf: functionOf,
            fixedBytes: MemoryCost.fixed(
                routerShard: router, routerOverhead: model.routerOverhead,
                sequences: model.sequenceBytesPerToken * min(model.context, MemoryCost.typicalSequence),
                functions: functions.count, lanes: Up.standardThreads))
    }
}

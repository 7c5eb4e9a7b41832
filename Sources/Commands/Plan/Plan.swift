// `locum plan`: what a budget would give, before anything is written. The source's headers are read in the sandboxed
// import, as for a deployment; disk and cores are measured for a few seconds.
import ArgumentParser
import FoundationEssentials
import FunctionModel
import Kernels
import Scheduler
import Settings
import Wire

struct Plan: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what a memory budget would give for a model, before deploying it.",
        discussion: """
            Without --trace every expert counts as likely as any other: the worst case. Prints the expected speed at the
            given budget and at others. Nothing is written.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Folder, .gguf file, or tales-moe.", completion: .file()) var source: String
    @Option(help: ArgumentHelp("The memory budget (512M, 3G, bytes).", valueName: "size")) var memory: String
    @Option(help: ArgumentHelp("Longest sequence in tokens; default: the model's own.", valueName: "n"))
    var context: UInt32?
    @Option(help: "A recording of this model's experts (`locum trace record`).", completion: .file()) var trace: String?
    @Flag(help: "Print JSON.") var json = false

    struct Report: Encodable {
        var fits: Bool
        var minimumBytes: Int
        var residentFraction: Double
        var tokensPerSecond: Double
        var firstTokenMilliseconds: Double
        /// `compute` or `disk`: what limits the speed.
        var bound: String
        var boundTokensPerSecond: Double
        var expertsPerFunction: Int
        var diskBytesPerSecond: Double

        enum CodingKeys: String, CodingKey {
            case fits, bound
            case minimumBytes = "minimum_bytes"
            case residentFraction = "resident_fraction"
            case tokensPerSecond = "tokens_per_second"
            case firstTokenMilliseconds = "first_token_ms"
            case boundTokensPerSecond = "bound_tokens_per_second"
            case expertsPerFunction = "experts_per_function"
            case diskBytesPerSecond = "disk_bytes_per_second"
        }
    }

    func validate() throws {
        guard Quantity.bytes(memory) != nil else { throw ValidationError("--memory \(memory): write a size like 3G.") }
    }

    func run() throws {
        try reporting {
            guard let budget = Quantity.bytes(memory) else { return }
            let recording = try trace.map { try AccessTrace(decoding: try TraceReplay.read($0)) }
            let lanes = Up.standardThreads
            let manifest = try plan(expertsPerFunction: 1)
            let format = WeightFormat(name: manifest.quantization.lowercased()) ?? .q8_0
            let compute = try ComputeProbe.bytesPerSecond(format, threads: lanes)
            let disk = DiskProbe.bytesPerSecond(try SourceFiles.paths(source))
            func model(_ manifest: ImportManifest, _ trace: AccessTrace?) -> SpeedModel {
                SpeedModel(
                    manifest: manifest, lanes: lanes, computeBytesPerSecond: compute, diskBytesPerSecond: disk,
                    trace: trace)
            }
            let single = model(manifest, recording)
            let prediction = single.predict(budget)
            var best = (count: 1, speed: prediction.tokensPerSecond)
            for count in [2, 4, 8, 16] where count < manifest.experts {
                // A recording is of single experts; groups are compared on equal terms, without one.
                let grouped = model(try plan(expertsPerFunction: UInt32(count)), nil)
                guard grouped.minimumBytes <= budget else { continue }
                let gain =
                    grouped.predict(budget).tokensPerSecond / model(manifest, nil).predict(budget).tokensPerSecond
                let speed = prediction.tokensPerSecond * gain
                if speed > best.speed * 1.02 { best = (count, speed) }
            }
            let report = Report(
                fits: prediction.fits, minimumBytes: single.minimumBytes, residentFraction: prediction.residentFraction,
                tokensPerSecond: prediction.tokensPerSecond,
                firstTokenMilliseconds: prediction.firstTokenSeconds * 1000, bound: prediction.bound,
                boundTokensPerSecond: prediction.boundTokensPerSecond, expertsPerFunction: best.count,
                diskBytesPerSecond: disk)
            if json { return write(bytes: Array(try JSONEncoder().encode(report)) + [10]) }
            show(report, single, budget)
        }
    }

    /// What an import would make.
    private func plan(expertsPerFunction: UInt32) throws -> ImportManifest {
        let options = DeployOptions(
            name: "plan", expertsPerFunction: expertsPerFunction, context: context ?? 0, planOnly: true)
        let text = try Deployment(daemon).run(options, try SourceFiles.open(source))
        let manifest = try ImportManifest(json: Data(text.utf8))
        // Written by the process that read the model's files, so it is checked as control does.
        try manifest.validate(shards: manifest.functions.count)
        return manifest
    }

    private func show(_ report: Report, _ model: SpeedModel, _ budget: Int) {
        let manifest = model.manifest
        write(
            text:
                "\(manifest.architecture), \(Human.bytes(manifest.bytes)) as \(manifest.quantization), \(manifest.layers) "
                + "layers of \(manifest.experts) experts, \(manifest.expertsPerToken) per token\n")
        write(text: "disk \(Human.bytes(Int(report.diskBytesPerSecond)))/s, limited by \(report.bound)\n")
        if report.fits {
            write(text: "best --experts-per-function \(report.expertsPerFunction)\n\n")
        } else {
            write(
                text:
                    "does not fit: the smallest budget is \(Human.bytes(report.minimumBytes)) (\(report.minimumBytes) bytes)\n\n"
            )
        }
        var table = Table(["MEMORY", "RESIDENT", "TOKENS/S", "BOUND", "FIRST TOKEN"], right: [0, 1, 2, 3, 4])
        let full = model.minimumBytes + manifest.bytes * 5 / 4
        let others = [report.minimumBytes, budget, budget * 3 / 2, budget * 2, full].sorted()
        for size in others where size >= report.minimumBytes && size <= max(full, budget) {
            let it = model.predict(size)
            table.add([
                Human.bytes(size), "\(Human.fixed(it.residentFraction * 100, 0)) %", Human.fixed(it.tokensPerSecond, 1),
                Human.fixed(it.boundTokensPerSecond, 1), "\(Human.fixed(it.firstTokenSeconds, 2)) s",
            ])
        }
        write(text: table.text)
    }
}

// The command line of `locum-testmodel`. Exit codes: 0 done, 1 failed, 64 wrong usage, 128 + n ended by signal n.
public import ArgumentParser
import Foundation
import Glibc
import Kernels
import Synchronization

/// The program's only command.
public struct TestModelCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "locum-testmodel",
        abstract: "Write a Mixture-of-Experts model with random weights and chosen routing as a GGUF file.",
        discussion: """
            The experts that tokens choose have the statistics that --skew, --repeat and --correlate ask for. With 60
            experts, 4 per token, and half of each layer's kept by LRU, --skew 0, 0.8 and 1.4 give about 50, 80 and
            97 % hits.
            """)

    @Argument(help: "The file to write; what is there is replaced when the new one is whole.", completion: .file())
    var out: String?
    @Option(help: "Shape of the model; see --list.") var preset: String?
    @Option(help: "Layers, when not the preset's.") var layers: Int?
    @Option(help: "\(Mixture.names).") var quantize = "Q4_0"
    @Option(help: "Zipf exponent of the experts' popularity, 0 to 8: 0 is flat, 0.8 medium, 1.4 strong.")
    var skew = 0.0
    @Option(help: "How much tokens that follow each other choose alike, 0 to 1.") var `repeat` = 0.0
    @Option(help: "How much of a layer's choice the layer before knows, 0 to 1.") var correlate = 0.5
    @Option(help: "Longest sequence in tokens, when not the preset's.") var context: Int?
    @Option(help: "Equal seeds and options give equal bytes.") var seed: UInt64 = 1
    @Option(help: "Threads that make the weights; default: one per core.") var threads: Int?
    @Flag(help: "Show the presets.") var list = false

    public init() {}

    public func validate() throws {
        if list { return }
        guard out != nil else { throw ValidationError("Name the file to write.") }
        _ = try model()
        if let threads, !(1...64).contains(threads) { throw ValidationError("--threads \(threads): must be 1 to 64.") }
    }

    private func model() throws -> TestModel {
        let names = Preset.allCases.map(\.rawValue).joined(separator: ", ")
        guard let preset else { throw ValidationError("Choose a --preset: \(names).") }
        guard var shape = Preset(rawValue: preset)?.shape else {
            throw ValidationError("--preset \(preset): must be one of \(names).")
        }
        guard let mixture = Mixture(name: quantize) else {
            throw ValidationError("--quantize \(quantize): must be one of \(Mixture.names).")
        }
        shape.layers = layers ?? shape.layers
        shape.context = context ?? shape.context
        let dial = RoutingDial(skew: skew, repetition: `repeat`, correlation: correlate)
        do throws(TestModelError) {
            return try TestModel(shape: shape, mixture: mixture, dial: dial, seed: seed)
        } catch {
            throw ValidationError(error.message)
        }
    }

    public func run() throws {
        if list {
            for line in try Self.presets() { print(line) }
            return
        }
        guard let out else { return }
        let model = try model()
        Interruption.listen()
        let clock = ContinuousClock()
        let start = clock.now
        do throws(TestModelError) {
            let bytes = try model.write(to: out, threads: threads ?? ProcessInfo.processInfo.activeProcessorCount) {
                Interruption.signal.load(ordering: .relaxed) != 0
            }
            let seconds = (clock.now - start) / .seconds(1)
            print("\(out): \(bytes) bytes in \(String(format: "%.1f", seconds)) s")
        } catch {
            let line = Array("locum-testmodel: \(error.message)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
            let signal = Interruption.signal.load(ordering: .relaxed)
            throw ExitCode(error.code == .interrupted ? 128 + signal : 1)
        }
    }

    private static func presets() throws -> [String] {
        try Preset.allCases.map { preset in
            let shape = preset.shape
            let bytes = try TestModel(shape: shape, mixture: Mixture(.q4_0), dial: RoutingDial(), seed: 1).byteCount
            return "\(shape.name): \(shape.layers) layers, hidden \(shape.hidden), \(shape.experts) experts of "
                + "\(shape.expertWidth), top-\(shape.expertsPerToken), shared \(shape.sharedWidth), vocabulary "
                + "\(shape.vocabulary): \(bytes) bytes in Q4_0"
        }
    }
}

/// The signal that asked the program to end, 0 before.
private enum Interruption {
    static let signal = Atomic<Int32>(0)

    static func listen() {
        // Touched here, so that the handler finds it made.
        signal.store(0, ordering: .relaxed)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            Glibc.signal(number) { Interruption.signal.store($0, ordering: .relaxed) }
        }
        // A file size limit is to be an error of the call.
        Glibc.signal(SIGXFSZ, SIG_IGN)
    }
}

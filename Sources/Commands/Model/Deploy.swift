// `locum deploy`: opens the source's files, hands the descriptors to node over invoke.sock, shows progress.
// Nothing is parsed here: that happens in a sandboxed process that gets the descriptors and nothing else.
import ArgumentParser
import FoundationEssentials
import FunctionModel
import Syscall
import Wire

struct Deploy: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn a model into functions: one router and its experts.",
        discussion: """
            SOURCE is a Hugging Face folder (config.json, tokenizer.json, *.safetensors), a .gguf file (of several
            parts any one), or the name of the model that ships with Locum: tales-moe. Architectures: Qwen2-MoE,
            Qwen3-MoE, Mixtral (in GGUF: llama with experts), OLMoE. Deploying again under the same name makes a new
            revision; experts that did not change keep their shards.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Folder, .gguf file, or tales-moe.", completion: .file()) var source: String
    @Option(help: "Name of the model in the API; default: the source's name.") var name: String?
    @Option(help: "The tenant whose it is to be; others may use it when `locum tenant set --model` lets them.")
    var tenant: String?
    @Option(help: ArgumentHelp("Experts of a layer that share a function: a number or all.", valueName: "n"))
    var expertsPerFunction = "1"
    @Option(help: ArgumentHelp("Layers that share a function: a number or all.", valueName: "n"))
    var layersPerFunction = "1"
    @Option(help: "Convert weights to f32, f16, bf16, q8_0, q6_k, q4_k or q4_0; default: keep them as they are.")
    var quantize: String?
    @Option(help: ArgumentHelp("Longest sequence in tokens; default: the model's own.", valueName: "n"))
    var context: UInt32?
    @Option(help: "Jinja file with the chat template, instead of the model's own.", completion: .file())
    var chatTemplate: String?
    @Option(help: "Type of the KV cache: f16, q8_0 for half the memory, or f32 for reference numbers.") var kvType =
        "f16"
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        _ = try options(name: "x")
        if let name { try Self.check(name: name) }
        if let tenant { try Name.check(tenant) }
    }

    private func options(name: String) throws -> DeployOptions {
        var options = DeployOptions(name: name)
        let given = [
            ("experts-per-function", expertsPerFunction), ("layers-per-function", layersPerFunction),
            ("quantize", quantize), ("context", context.map { "\($0)" }), ("kv-type", kvType),
        ]
        for case (let option, let text?) in given {
            if let form = options.set(option, text) { throw ValidationError("--\(option) \(text): must be \(form).") }
        }
        return options
    }

    func run() throws {
        try reporting {
            let files = try SourceFiles.open(source, chatTemplate: chatTemplate)
            let chosen = name ?? Self.defaultName(source)
            try Self.check(name: chosen)
            let deployment = try Deployment(daemon)
            let result = try deployment.run(try options(name: ModelName.full(chosen, of: tenant)), files)
            if json {
                print(result)
            } else {
                write(text: try JSONDecoder().decode(DeployReport.self, from: Data(result.utf8)).text)
            }
        }
    }

    private static func check(name: String) throws {
        guard ModelName.isValid(name) else {
            throw ValidationError("the name \(name) does not fit: \(ModelName.rule). Give one with --name.")
        }
    }

    /// The file's or folder's own name in small letters, what does not fit replaced by '-'.
    static func defaultName(_ source: String) -> String {
        var base = DataFolder.real(source).split(separator: "/").last.map(String.init) ?? "model"
        if let part = GGUFPart(base) {
            base = part.stem
        } else if base.lowercased().hasSuffix(".gguf") {
            base.removeLast(5)
        }
        let fitting = base.lowercased().unicodeScalars.map { scalar -> Character in
            scalar.isASCII
                && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil
                    || "._-".unicodeScalars.contains(scalar))
                ? Character(scalar) : "-"
        }
        return String(String(fitting).drop { !$0.isLetter && !$0.isNumber }.prefix(63))
    }
}

extension DeployReport {
    /// What came of it, in one line.
    var text: String {
        let written =
            switch shardsWritten {
            case 0: "nothing to write"
            case 1: "1 shard written"
            default: "\(shardsWritten) shards written"
            }
        return
            "deployed \(name) revision \(revision): \(functions) functions, \(Human.bytes(bytes)) as \(quantization), "
            + "\(written)\n"
    }
}

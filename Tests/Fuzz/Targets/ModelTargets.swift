// The files of a model, each by itself as far as its reader goes, and a GGUF file and a folder as far as an import goes.
import Shard
import Tokenizer

@testable import ModelImport

extension FuzzTarget {
    /// A GGUF file.
    static let gguf = FuzzTarget("gguf", longest: 48 << 10) { bytes in
        if let file = try? MemoryFiles.file("model.gguf", bytes), let gguf = try? GGUFFile(file) {
            for tensor in gguf.tensors.tensors.values {
                precondition(tensor.offset >= 0 && tensor.length > 0 && tensor.offset + tensor.length <= file.size)
            }
        }
        Imports.run([("model.gguf", bytes)])
    }

    /// An index, empty for none, and a safetensors file.
    static let safetensors = FuzzTarget("safetensors", longest: 4096) { bytes in
        let parts = bytes.parts(2)
        do throws(ImportError) {
            let file = try MemoryFiles.file("model-1.safetensors", parts[1])
            var table = TensorTable()
            if parts[0].isEmpty {
                try SafetensorsFile.read(file, into: &table)
            } else {
                let index = try MemoryFiles.file("model.safetensors.index.json", parts[0])
                table = try SafetensorsIndex.read(index, parts: [file.name: file])
            }
            try table.refuseOverlaps(.badSafetensors)
            for tensor in table.tensors.values {
                precondition(tensor.offset >= 8 && tensor.offset + tensor.length <= file.size)
            }
        } catch {
            precondition(!error.message.isEmpty)
        }
    }

    /// config.json and generation_config.json, up to the plan of a model that lacks its tensors.
    static let config = FuzzTarget("config", longest: 4096) { bytes in
        let parts = bytes.parts(2)
        do throws(ImportError) {
            let source = try HFConfig(try MemoryFiles.file("config.json", parts[0]))
            let architecture = Architecture.all.first { $0.huggingFaceType == source.modelType } ?? .qwen2moe
            var config = try source.routerConfig(architecture)
            if !parts[1].isEmpty {
                config.generation = try HFGenerationConfig(
                    try MemoryFiles.file("generation_config.json", parts[1])
                ).defaults
            }
            let model = LoadedModel(
                naming: .safetensors, architecture: architecture, configFile: "config.json", config: config,
                hasAttentionBias: source.hasAttentionBias ?? architecture.hasAttentionBias,
                tiesOutput: source.tiesEmbeddings,
                tokenizerFile: "tokenizer.json", tokenizer: byteLevel, template: nil, tensors: TensorTable())
            _ = try ImportPlan(model, ImportOptions())
            preconditionFailure("a model without tensors was planned")
        } catch {
            precondition(!error.message.isEmpty)
        }
    }

    /// tokenizer_config.json, and the chat template in it.
    static let tokenizerConfig = FuzzTarget("tokenizer-config", longest: 4096) { bytes in
        guard let file = try? MemoryFiles.file("tokenizer_config.json", bytes),
            let config = try? HFTokenizerConfig(file), let template = config.chatTemplate
        else { return }
        Templates.compileAndRender(template, says: "Hello")
    }

    /// All files of a folder: config.json, generation_config.json, tokenizer_config.json, tokenizer.json,
    /// chat_template.jinja and model.safetensors.
    static let folder = FuzzTarget("folder", longest: 32 << 10) { bytes in
        let names = [
            "config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja",
            "model.safetensors",
        ]
        Imports.run(zip(names, bytes.parts(names.count)).filter { !$1.isEmpty }.map { ($0, $1) })
    }

    /// The smallest tokenizer there is: a token for each byte.
    private static let byteLevel = TokenizerDefinition(
        tokens: ByteAlphabet.characters, merges: [], added: [], preTokenizer: .qwen2, normalizesNFC: false)
}

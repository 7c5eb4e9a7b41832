// What architectures differ in, and the forms in which one model is published: whatever the form, the shards are the same.
import Foundation
import FunctionModel
import Kernels
import ModelImport
import Shard
import Testing

@Suite struct ArchitectureTests {
    private func config(_ files: ModelFiles) throws -> RouterConfig {
        try files.run(ImportOptions(expertsPerFunction: 0)).shard(0).view.routerConfig()
    }

    @Test("What an architecture computes comes in from a folder and from a GGUF file alike")
    func configurations() throws {
        let expected: [(String, RouterConfig.QueryKeyNorm, Bool, Int, Int)] = [
            ("qwen3moe.Q4_0", .perHead, true, 32, 32), ("mixtral.Q8_0", .none, true, 16, 96),
            ("olmoe.Q8_0", .acrossHeads, false, 16, 32),
        ]
        for (name, norm, normalizes, headDim, width) in expected {
            let folder = try config(.folder(name.split(separator: ".").first.map(String.init) ?? ""))
            #expect((folder.queryKeyNorm, folder.normalizesTopK) == (norm, normalizes), "\(name)")
            #expect((folder.headDim, folder.moeIntermediate) == (headDim, width), "\(name)")
            var gguf = try config(.gguf(name))
            gguf.generation = folder.generation
            #expect(gguf == folder, "\(name)")
        }
    }

    @Test(
        "Converting a folder gives the bits that the GGUF tools gave, rotary pairs in the router's order",
        arguments: [("qwen3moe", "q4_0"), ("mixtral", "q8_0"), ("olmoe", "q8_0")])
    func conversions(_ name: String, _ format: String) throws {
        let converted = try ModelFiles.folder(name).run(ImportOptions(quantize: WeightFormat(name: format)))
        let original = try ModelFiles.gguf("\(name).\(format.uppercased())").run()
        #expect(converted.expertDigests == original.expertDigests)
        let (a, aBytes) = try converted.shard(0)
        let (b, bBytes) = try original.shard(0)
        #expect(a.count == b.count)
        for entry in a.entries where entry.role.content != .blob {
            let other = try #require(b.entry(entry.role, layer: entry.layer))
            // Locum keeps an output matrix at eight bits, also where the file has but the embedding for both.
            if entry.role == .output, name == "qwen3moe" { continue }
            #expect(entry.format == other.format)
            let bytes = aBytes[entry.offset..<entry.offset + entry.length]
            #expect(bytes.elementsEqual(bBytes[other.offset..<other.offset + other.length]), "\(entry.role)")
        }
    }

    @Test("A layer's experts in one tensor, as transformers from version 5 on may write them, give the same shards")
    func packed() throws {
        for (name, prefix, parts) in [
            ("mixtral", "block_sparse_moe", ["w1", "w3", "w2"]),
            ("qwen3moe", "mlp", ["gate_proj", "up_proj", "down_proj"]),
        ] {
            var files = try ModelFiles.folder(name)
            let separate = try files.run()
            var image = try SafetensorsImage(files.files["model.safetensors"] ?? [])
            let experts = separate.manifest.experts
            for layer in 0..<separate.manifest.layers {
                let block = "model.layers.\(layer)."
                let matrices = (0..<experts).map { expert in
                    parts.map { image["\(block)\(prefix).experts.\(expert).\($0).weight"] }
                }
                image.tensors.removeAll { $0.name.hasPrefix("\(block)\(prefix).experts.") }
                func add(_ name: String, _ shape: [Int], _ data: [UInt8]) {
                    image.tensors.append(
                        .init(name: block + name, dtype: matrices[0][0].dtype, shape: shape, data: data))
                }
                let (up, down) = (matrices[0][0].shape, matrices[0][2].shape)
                add(
                    "mlp.experts.gate_up_proj", [experts, 2 * up[0], up[1]],
                    matrices.flatMap { $0[0].data + $0[1].data })
                add("mlp.experts.down_proj", [experts] + down, matrices.flatMap { $0[2].data })
                if prefix != "mlp" {
                    var gate = image["\(block)\(prefix).gate.weight"]
                    image.tensors.removeAll { $0.name == gate.name }
                    gate.name = "\(block)mlp.gate.weight"
                    image.tensors.append(gate)
                }
            }
            files.files["model.safetensors"] = try image.file()
            #expect(try files.run().digests == separate.digests, "\(name)")
        }
    }

    @Test("A llama file's queries and keys are put in the router's order of rotary pairs")
    func pairs() throws {
        let router = try GGUFImage.mixtral().files.run().shard(0).view
        for (role, rows) in [(ShardRole.q, 32), (.k, 16)] {
            let matrix = try router.matrix(role, layer: 0)
            #expect((matrix.rows, matrix.columns) == (rows, 32))
            for row in 0..<rows {
                // Row j * 8 + i of a head of 16 is the file's row 2 * i + j, and each row is filled with its number there.
                let place = row / 16 * 16 + 2 * (row % 8) + row % 16 / 8
                let packed = (row / 16 * 32 + 5) * 16 + row % 16
                #expect(matrix.base.load(fromByteOffset: packed * 4, as: Float.self) == Float(place))
            }
        }
        #expect(try router.matrix(.v, layer: 0).base.load(fromByteOffset: 5 * 64 + 3 * 4, as: Float.self) == 3)
    }

    @Test("A tensor for each expert, as in GGUF files of 2023, gives the shards of one for all")
    func oldFiles() throws {
        let stacked = try GGUFImage.mixtral().files.run()
        let separate = try GGUFImage.mixtral(perExpert: true).files.run()
        #expect(separate.digests == stacked.digests)
        #expect(Set(stacked.expertDigests).count == 2)
    }

    // MARK: Rotary scaling

    /// Qwen3's frequencies with YaRN's factor 4 on a context of 128, by the definition in transformers.
    private static let yarn: [Float] = [
        1, 0.342628409, 0.111142463, 0.0328078717, 0.00790569415, 0.00333380358, 0.00140585331, 0.000592843426, 0.00025,
        0.000105424126, 4.44569853e-05, 1.87473552e-05, 7.90569415e-06, 3.33380358e-06, 1.40585331e-06, 5.92843426e-07,
    ]

    private func agrees(_ rotation: Rotation, _ frequencies: [Float], _ scale: Float) -> Bool {
        rotation.frequencies.count == frequencies.count && abs(rotation.scale - scale) < 1e-6
            && zip(rotation.frequencies, frequencies).allSatisfy { abs($0 / $1 - 1) < 1e-6 }
    }

    @Test("YaRN in both forms of config.json and in GGUF gives transformers' frequencies and factor")
    func yarn() throws {
        for key in ["rope_parameters", "rope_scaling"] {
            var files = try ModelFiles.folder("qwen3moe")
            try files.edit("config.json") {
                $0["rope_parameters"] = nil
                $0["rope_theta"] = 1e6
                $0[key] = [
                    key == "rope_scaling" ? "type" : "rope_type": "yarn", "factor": 4.0,
                    "original_max_position_embeddings": 128,
                ]
            }
            let config = try config(files)
            #expect(agrees(config.rotation, Self.yarn, 1.138629436))
            // 4 * 128 is what the file names anyway.
            #expect(config.context == 512)
            try files.edit("config.json") {
                $0[key] = ["rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5]
            }
            let longer = try self.config(files)
            #expect(longer.rotation.scale == 1.5)
            #expect(longer.context == 2048)
        }
        var image = GGUFImage.mixtral()
        image["llama.rope.freq_base"] = .f32(1e6)
        image["llama.rope.scaling.type"] = .string(Array("yarn".utf8))
        image["llama.rope.scaling.factor"] = .f32(4)
        image["llama.rope.scaling.original_context_length"] = .u32(16)
        let short = try config(image.files)
        #expect(short.context == 64)
        #expect(abs(short.rotation.scale - 1.138629436) < 1e-6)
        #expect(short.rotation.frequencies.last == Float(Kernels.pow(1e6, -14 / 16) / 4))
    }

    @Test("Linear scaling divides all frequencies")
    func linear() throws {
        let plain = try config(.folder("olmoe")).rotation
        var files = try ModelFiles.folder("olmoe")
        try files.edit("config.json") { $0["rope_scaling"] = ["type": "linear", "factor": 8] }
        #expect(try config(files).rotation == Rotation(frequencies: plain.frequencies.map { $0 / 8 }))
        for keys in [["scaling.type", "scaling.factor"], ["scale_linear"]] {
            var image = GGUFImage.mixtral()
            let unscaled = try config(image.files).rotation
            for key in keys {
                image["llama.rope.\(key)"] = key == "scaling.type" ? .string(Array("linear".utf8)) : .f32(8)
            }
            #expect(try config(image.files).rotation == Rotation(frequencies: unscaled.frequencies.map { $0 / 8 }))
        }
    }

    // MARK: Refusals

    private static func config(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ change: @escaping @Sendable (inout [String: Any]) -> Void
    ) -> BadInput {
        BadInput(what, code, ["config.json"] + words) { try $0.edit("config.json", change) }
    }

    @Test("What a Mixtral model would compute otherwise is refused", arguments: mixtral)
    func refusedMixtral(_ bad: BadInput) throws { try bad.check(try ModelFiles.folder("mixtral")) }

    @BadInputs static var mixtral: [BadInput] {
        config("a window shorter than the context", .unsupportedArchitecture, ["sliding_window", "511"]) {
            $0["sliding_window"] = 511
        }
        config("no number of experts", .badConfig, ["num_local_experts"]) { $0["num_local_experts"] = nil }
        config("dynamic scaling", .unsupportedArchitecture, ["dynamic", "linear or yarn"]) {
            $0["rope_scaling"] = ["type": "dynamic", "factor": 2]
        }
        config("scaling without a factor", .badConfig, ["factor"]) { $0["rope_scaling"] = ["type": "linear"] }
        config("scaling that shortens", .badConfig, ["rotary frequency"]) {
            $0["rope_scaling"] = ["type": "linear", "factor": 0.5]
        }
        config("a base of zero", .badConfig, ["rotary frequency"]) { $0["rope_theta"] = 0 }
        config("partial rotation", .unsupportedArchitecture, ["partial"]) { $0["partial_rotary_factor"] = 0.5 }
    }

    @Test("A window that no sequence leaves is no window")
    func wideWindow() throws {
        var files = try ModelFiles.folder("mixtral")
        try files.edit("config.json") { $0["sliding_window"] = 512 }
        #expect(try files.run().digests == ModelFiles.folder("mixtral").run().digests)
    }

    @Test("What an OLMoE model would compute otherwise is refused", arguments: olmoe)
    func refusedOLMoE(_ bad: BadInput) throws { try bad.check(try ModelFiles.folder("olmoe")) }

    @BadInputs static var olmoe: [BadInput] {
        config("clipping", .unsupportedArchitecture, ["clip_qkv"]) { $0["clip_qkv"] = 8 }
        config("biases", .unsupportedArchitecture, ["attention_bias"]) { $0["attention_bias"] = true }
        BadInput("no norm of queries", .missingTensor, ["q_norm"]) {
            var image = try SafetensorsImage($0.files["model.safetensors"] ?? [])
            image.tensors.removeAll { $0.name == "model.layers.1.self_attn.q_norm.weight" }
            $0.files["model.safetensors"] = try image.file()
        }
        BadInput("a norm of a single head", .badShape, ["q_norm", "[16]", "[1, 64]"]) {
            var image = try SafetensorsImage($0.files["model.safetensors"] ?? [])
            image["model.layers.1.self_attn.q_norm.weight"].shape = [16]
            image["model.layers.1.self_attn.q_norm.weight"].data.removeLast(48 * 4)
            $0.files["model.safetensors"] = try image.file()
        }
    }

    private static func gguf(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ change: @escaping @Sendable (inout GGUFImage) -> Void
    ) -> BadInput {
        BadInput(what, code, ["tiny.gguf"] + words) {
            var image = GGUFImage.mixtral()
            change(&image)
            $0 = image.files
        }
    }

    @Test("What a llama file cannot be is refused", arguments: llama)
    func refusedLlama(_ bad: BadInput) throws { try bad.check(ModelFiles(files: [:])) }

    @BadInputs static var llama: [BadInput] {
        gguf("a model without experts", .unsupportedArchitecture, ["llama model without experts"]) {
            $0["llama.expert_count"] = nil
            $0.tensors.removeAll { $0.name.contains("ffn_gate_inp") }
        }
        gguf("a window", .unsupportedArchitecture, ["attention.sliding_window"]) {
            $0["llama.attention.sliding_window"] = .u32(32)
        }
        gguf("clipping", .unsupportedArchitecture, ["attention.clamp_kqv"]) {
            $0["llama.attention.clamp_kqv"] = .f32(8)
        }
        gguf("scaling by tables", .unsupportedArchitecture, ["longrope"]) {
            $0["llama.rope.scaling.type"] = .string(Array("longrope".utf8))
            $0["llama.rope.scaling.factor"] = .f32(4)
        }
        gguf("another YaRN", .unsupportedArchitecture, ["yarn_ext_factor"]) {
            $0["llama.rope.scaling.type"] = .string(Array("yarn".utf8))
            $0["llama.rope.scaling.factor"] = .f32(4)
            $0["llama.rope.scaling.yarn_ext_factor"] = .f32(0.5)
        }
        gguf("frequencies of its own", .unexpectedTensor, ["rope_freqs"]) {
            $0.tensors.append(
                .init(name: "rope_freqs.weight", dimensions: [8], type: 0, data: [UInt8](repeating: 0, count: 32)))
        }
        gguf("no scores", .badGGUF, ["tokenizer.ggml.scores"]) { $0["tokenizer.ggml.scores"] = nil }
        gguf("too few scores", .badTokenizer, ["scores"]) { $0["tokenizer.ggml.scores"] = .floats([1, 2]) }
        gguf("a score that is no number", .badTokenizer, ["scores"]) {
            $0["tokenizer.ggml.scores"] = .floats([Float](repeating: .nan, count: 264))
        }
        gguf("scores that are text", .badGGUF, ["tokenizer.ggml.scores", "numbers"]) {
            $0["tokenizer.ggml.scores"] = .strings(["a"])
        }
        gguf("no types", .badTokenizer, ["token types"]) { $0["tokenizer.ggml.token_type"] = nil }
        gguf("a byte that is missing", .badTokenizer, ["byte 65"]) {
            guard case .strings(var tokens) = $0["tokenizer.ggml.tokens"] else { return }
            tokens[3 + 65] = "<0x4g>"
            $0["tokenizer.ggml.tokens"] = .strings(tokens)
        }
    }
}

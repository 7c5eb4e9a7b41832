// Every form of a model that is supported comes in, and the same model in two forms gives the same shards.
import FunctionModel
import Foundation
import Kernels
import ModelImport
import Shard
import Testing

@Suite struct ImportFormsTests {
    @Test(
        "A Hugging Face folder becomes a router and experts whose shards are whole",
        arguments: [("qwen2moe", 4, 16, "F32"), ("qwen2moe-norm", 3, 16, "F32"), ("kquant-qwen2moe", 2, 8, "BF16")])
    func folders(_ name: String, _ moeLayers: Int, _ experts: Int, _ format: String) throws {
        let imported = try ModelFiles.folder(name).run()
        #expect(imported.manifest.functions.count == 1 + moeLayers * experts)
        #expect(imported.manifest.quantization == format)
        #expect(imported.manifest.sourceFormat == "safetensors")
        #expect(imported.manifest.hasChatTemplate)
        #expect(imported.manifest.eosTokens == [511])
        try checkShards(imported)
    }

    @Test(
        "A GGUF file in each quantisation becomes a router and experts whose shards are whole",
        arguments: [
            ("qwen2moe.F32", "F32"), ("qwen2moe.F16", "F16"), ("qwen2moe.Q8_0", "Q8_0"), ("qwen2moe.Q4_0", "Q4_0"),
            ("kquant-qwen2moe.Q8_0", "Q8_0"), ("kquant-qwen2moe.Q4_0", "Q4_0"), ("kquant-qwen2moe.Q6_K", "Q6_K"),
        ])
    func ggufs(_ name: String, _ format: String) throws {
        let imported = try ModelFiles.gguf(name).run()
        #expect(imported.manifest.quantization == format)
        #expect(imported.manifest.sourceFormat == "gguf")
        #expect(imported.manifest.eosTokens == [511])
        try checkShards(imported)
        let router = try imported.shard(0).view
        #expect(try router.matrix(.output).format.name.uppercased() == (format == "Q4_0" ? "Q8_0" : format))
        #expect(try router.matrix(.gate).format == .f32)
    }

    @Test("The trained model comes in with its own sampling defaults")
    func tales() throws {
        let files = try ModelFiles.tales()
        let imported = try files.run(ImportOptions(expertsPerFunction: 0))
        let manifest = imported.manifest
        #expect(manifest.functions.map(\.name).prefix(2) == ["router", "L00-E000-031"])
        #expect(manifest.functions.count == 7)
        let image = try SafetensorsImage(files.files["model.safetensors"] ?? [])
        #expect(manifest.parameters == image.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) })
        #expect(manifest.eosTokens == [4095, 4093])
        #expect(manifest.generation.temperature == 0.8)
        #expect(manifest.generation.doSample == true)
        try checkShards(imported)
    }

    @Test("A model in F32 gives the same weights and tokenizer from folder and GGUF")
    func formsAgree() throws {
        let folder = try ModelFiles.folder("qwen2moe").run()
        let gguf = try ModelFiles.gguf("qwen2moe.F32").run()
        #expect(folder.expertDigests == gguf.expertDigests)
        let (a, aBytes) = try folder.shard(0)
        let (b, bBytes) = try gguf.shard(0)
        for entry in a.entries where entry.role != .config {
            let other = try #require(b.entry(entry.role, layer: entry.layer))
            let bytes = aBytes[entry.offset..<entry.offset + entry.length]
            #expect(bytes.elementsEqual(bBytes[other.offset..<other.offset + other.length]), "\(entry.role)")
        }
        var (first, second) = (try a.routerConfig(), try b.routerConfig())
        (first.generation, second.generation) = (GenerationDefaults(), GenerationDefaults())
        #expect(first == second)
    }

    @Test(
        "Converting a folder gives the bits that the GGUF tools gave",
        arguments: ["f16", "q8_0", "q4_0"])
    func conversions(_ format: String) throws {
        let options = ImportOptions(quantize: WeightFormat(name: format))
        let converted = try ModelFiles.folder("qwen2moe").run(options)
        let original = try ModelFiles.gguf("qwen2moe.\(format.uppercased())").run()
        #expect(converted.expertDigests == original.expertDigests)
        let (a, aBytes) = try converted.shard(0)
        let (b, bBytes) = try original.shard(0)
        for entry in a.entries where entry.role != .config {
            let other = try #require(b.entry(entry.role, layer: entry.layer))
            #expect(entry.format == other.format)
            let bytes = aBytes[entry.offset..<entry.offset + entry.length]
            #expect(bytes.elementsEqual(bBytes[other.offset..<other.offset + other.length]), "\(entry.role)")
        }
    }

    @Test("Each expert's matrix is packed from its own rows")
    func contents() throws {
        let files = try ModelFiles.folder("qwen2moe")
        let source = try SafetensorsImage(files.files["model.safetensors"] ?? [])
        let imported = try files.run(ImportOptions(expertsPerFunction: 4, layersPerFunction: 2))
        let config = try imported.shard(0).view.routerConfig()
        for (layer, expert) in [(0, 0), (0, 5), (1, 15), (3, 7), (2, 0)] {
            let place = try #require(config.place(layer: layer, expert: expert))
            let view = try imported.shard(1 + place.function).view
            let parts: [(ShardRole, String)] = [(.expertGate, "gate"), (.expertUp, "up"), (.expertDown, "down")]
            for (role, part) in parts {
                let matrix = try view.matrix(role, expert: place.local)
                let plain = source["model.layers.\(layer).mlp.experts.\(expert).\(part)_proj.weight"]
                #expect(plain.shape == [matrix.rows, matrix.columns])
                for row in 0..<matrix.rows {
                    for column in 0..<matrix.columns {
                        // f32 tiles: for each column, the 16 weights of the tile's rows.
                        let packed = (row / 16 * matrix.columns + column) * 16 + row % 16
                        let bits = plain.data.withUnsafeBytes {
                            $0.loadUnaligned(fromByteOffset: (row * matrix.columns + column) * 4, as: UInt32.self)
                        }
                        try #require(matrix.base.load(fromByteOffset: packed * 4, as: UInt32.self) == bits)
                    }
                }
            }
        }
    }

    @Test("A model in parts gives the shards of the whole")
    func parts() throws {
        var files = try ModelFiles.folder("qwen2moe")
        let whole = try files.run(ImportOptions(expertsPerFunction: 0))
        files.split()
        #expect(try files.run(ImportOptions(expertsPerFunction: 0)).digests == whole.digests)
    }

    @Test("A GGUF file in parts gives the shards of the whole, whatever order the parts come in")
    func ggufParts() throws {
        let whole = GGUFImage.tiny()
        let imported = try whole.files.run()
        for count in [2, 3] {
            var files = whole.parts(count)
            #expect(try files.run().digests == imported.digests)
            // The first by name is not the first by number.
            files.files["a.gguf"] = files.files.removeValue(forKey: "tiny-00002-of-0000\(count).gguf")
            #expect(try files.run().digests == imported.digests)
        }
    }

    @Test("Parts that are not all parts of one model are refused by name")
    func wrongParts() throws {
        func refused(_ change: (inout ModelFiles) -> Void) -> String {
            var files = GGUFImage.tiny().parts(3)
            change(&files)
            let error = #expect(throws: ImportError.self) { try files.run() }
            return error?.message ?? ""
        }
        let third = "tiny-00003-of-00003.gguf"
        #expect(refused { $0.files[third] = nil }.contains("one of 3 parts, but there are 2 files"))
        #expect(refused { $0.files[third] = $0.files["tiny-00002-of-00003.gguf"] }.contains("part 2 of 3"))
        #expect(refused { $0.files[third] = GGUFImage.tiny().file }.contains(third))
        #expect(refused { $0.files[third] = GGUFImage().parts(3).files[third] }.contains("tensors, but have"))
        let two = ModelFiles(files: ["a.gguf": GGUFImage.tiny().file, "b.gguf": GGUFImage.tiny().file])
        #expect { try two.run() } throws: { "\($0)".contains("name the one you mean") }
    }

    @Test("Tied embeddings, renormalised weights, rope_parameters and the older forms are understood")
    func variants() throws {
        var files = try ModelFiles.folder("qwen2moe")
        var image = try SafetensorsImage(files.files["model.safetensors"] ?? [])
        image.tensors.removeAll { $0.name == "lm_head.weight" }
        files.files["model.safetensors"] = try image.file()
        try files.edit("config.json") {
            $0["tie_word_embeddings"] = true
            $0["norm_topk_prob"] = true
            $0["rope_theta"] = nil
            $0["rope_parameters"] = ["rope_type": "default", "rope_theta": 5e5]
            $0["eos_token_id"] = [511, 509]
        }
        files.files["generation_config.json"] = nil
        files.files["chat_template.jinja"] = Array("{{ messages[0]['content'] }}".utf8)
        let imported = try files.run(ImportOptions(expertsPerFunction: 0, context: 100, kvType: "f32"))
        let config = try imported.shard(0).view.routerConfig()
        #expect(config.normalizesTopK)
        #expect(config.rotation.frequencies[1] == Float(Kernels.pow(5e5, -2 / 16)))
        #expect(config.eosTokens == [511, 509])
        #expect((config.context, config.kvType) == (100, .f32))
        #expect(try imported.shard(0).view.matrix(.output).rows == 512)
    }

    @Test("A manifest survives its way as JSON")
    func manifest() throws {
        let manifest = try ModelFiles.gguf("qwen2moe.Q4_0").run(ImportOptions(expertsPerFunction: 5)).manifest
        let json = try JSONEncoder().encode(manifest)
        #expect(try JSONDecoder().decode(ImportManifest.self, from: json) == manifest)
        let text = String(decoding: json, as: UTF8.self)
        for key in ["source_format", "experts_per_token", "has_chat_template", "\"name\":\"L00-E005-009\""] {
            #expect(text.contains(key))
        }
    }

    /// Every shard validates, the router's fits its configuration, the experts' sizes agree with the manifest.
    private func checkShards(_ imported: Imported) throws {
        #expect(imported.manifest.bytes == imported.manifest.functions.reduce(0) { $0 + $1.bytes })
        for (index, function) in imported.manifest.functions.enumerated() {
            #expect(function.shard == index)
            #expect(imported.sink.shards[index]?.count == function.bytes)
            let view = try imported.shard(index).view
            if index == 0 {
                #expect(try view.routerConfig().functions.count == imported.manifest.functions.count - 1)
            } else if case .expert(_, _, let count) = view.kind {
                #expect(count == function.experts)
            } else {
                Issue.record("\(function.name) is not an expert's shard")
            }
        }
    }
}

extension ModelFiles {
    /// Cuts model.safetensors into two parts with an index.
    mutating func split() {
        guard let whole = try? SafetensorsImage(files["model.safetensors"] ?? []) else { return }
        var map: [String: String] = [:]
        for part in 0..<2 {
            let name = "model-0000\(part + 1)-of-00002.safetensors"
            var image = whole
            image.tensors = whole.tensors.enumerated().filter { $0.offset % 2 == part }.map(\.element)
            for tensor in image.tensors { map[tensor.name] = name }
            files[name] = try? image.file()
        }
        files["model.safetensors"] = nil
        let index: [String: Any] = ["metadata": ["total_size": 1], "weight_map": map]
        files["model.safetensors.index.json"] = (try? JSONSerialization.data(withJSONObject: index)).map(Array.init)
    }
}

// Folders that lie, each refused by file, place, reason and remedy.
import Foundation
import ModelImport
import Testing

@Suite struct BadFolderTests {
    @Test("A folder with a bad configuration is refused", arguments: configurations)
    func configuration(_ bad: BadInput) throws { try bad.check(try ModelFiles.folder("qwen2moe")) }

    @Test("A folder with a bad tokenizer or template is refused", arguments: tokenizers)
    func tokenizer(_ bad: BadInput) throws { try bad.check(try ModelFiles.folder("qwen2moe")) }

    @Test("A folder with bad weights is refused", arguments: weights)
    func weight(_ bad: BadInput) throws { try bad.check(try ModelFiles.folder("qwen2moe")) }

    @Test("More functions than a deployment may have are refused before anything is made of them")
    func functions() throws {
        let bad = Self.config("too many", .badOptions, ["functions of experts", "--experts-per-function"]) {
            ($0["num_hidden_layers"], $0["num_experts"]) = (256, 4096)
        }
        try bad.check(try ModelFiles.folder("qwen2moe"), ImportOptions(expertsPerFunction: 1))
    }

    @Test("A folder with a bad index is refused", arguments: indices)
    func index(_ bad: BadInput) throws {
        var files = try ModelFiles.folder("qwen2moe")
        files.split()
        try bad.check(files)
    }

    private static func config(
        _ what: String, _ code: ImportError.Code = .badConfig, _ words: [String],
        _ change: @escaping @Sendable (inout [String: Any]) -> Void
    ) -> BadInput {
        BadInput(what, code, ["config.json"] + words) { try $0.edit("config.json", change) }
    }

    @BadInputs static var configurations: [BadInput] {
        BadInput("no config.json", .notAModel, ["name a model's folder"]) { $0.files["config.json"] = nil }
        BadInput("nothing at all", .notAModel, ["empty"]) { $0.files = [:] }
        BadInput("a picture", .notAModel, ["cat.png", "GGUF"]) {
            $0.files = ["cat.png": Array("\u{89}PNG\r\n............".utf8)]
        }
        BadInput("an empty config.json", .badJSON, ["config.json", "byte 0"]) { $0.files["config.json"] = [] }
        BadInput("half a config.json", .badJSON, ["config.json", "byte"]) {
            $0.files["config.json"] = Array(($0.files["config.json"] ?? []).prefix(300))
        }
        BadInput("an array as config.json", .badConfig, ["config.json", "an object"]) {
            $0.files["config.json"] = Array("[1]".utf8)
        }
        BadInput("text after the object", .badJSON, ["config.json", "follows"]) {
            $0.files["config.json"]? += Array("{}".utf8)
        }
        BadInput("a key twice", .badJSON, ["config.json", "vocab_size", "twice"]) {
            try $0.replace("config.json", "\"vocab_size\"", "\"vocab_size\": 512, \"vocab_size\"")
        }
        BadInput("invalid UTF-8", .badJSON, ["config.json", "UTF-8"]) {
            try $0.replace("config.json", "silu", "XX")
            $0.files["config.json"] = $0.files["config.json"].map { bytes in
                bytes.map { $0 == UInt8(ascii: "X") ? 0xFF : $0 }
            }
        }
        BadInput("deep nesting", .badJSON, ["config.json", "nested"]) {
            $0.files["config.json"] = Array(("{\"x\":" + String(repeating: "[", count: 100_000)).utf8)
        }
        config("experts without number", .badConfig, ["experts over all layers"]) {
            ($0["num_hidden_layers"], $0["num_experts"]) = (1024, 4096)
        }
        BadInput("a huge config.json", .tooLarge, ["config.json"]) {
            $0.files["config.json"] = [UInt8](repeating: 0x20, count: 5 << 20)
        }
        config("another architecture", .unsupportedArchitecture, ["llama", "qwen2_moe"]) { $0["model_type"] = "llama" }
        config("no architecture", .unsupportedArchitecture, ["model_type"]) { $0["model_type"] = nil }
        config("a number as architecture", .badConfig, ["model_type", "a string"]) { $0["model_type"] = 7 }
        config("text as a size", .badConfig, ["hidden_size", "a number", "a string"]) { $0["hidden_size"] = "64" }
        config("a broken number of layers", .badConfig, ["num_hidden_layers", "whole number"]) {
            $0["num_hidden_layers"] = 4.5
        }
        config("no hidden size", .badConfig, ["hidden_size is missing"]) { $0["hidden_size"] = nil }
        config("a million layers", .badConfig, ["num_hidden_layers", "1000000"]) { $0["num_hidden_layers"] = 1_000_000 }
        config("minus one expert", .badConfig, ["num_experts"]) { $0["num_experts"] = -1 }
        config("more experts per token than experts", .badConfig, ["experts per token"]) {
            $0["num_experts_per_tok"] = 17
        }
        config("heads that do not divide", .badConfig, ["num_attention_heads"]) { $0["num_attention_heads"] = 7 }
        config("key heads that do not divide", .badConfig, ["key/value heads"]) { $0["num_key_value_heads"] = 3 }
        config("a negative epsilon", .badConfig, ["epsilon"]) { $0["rms_norm_eps"] = -1e-6 }
        config("no expert layer", .badConfig, ["no layer has experts"]) { $0["mlp_only_layers"] = [0, 1, 2, 3] }
        config("a dense layer beyond the last", .badConfig, ["mlp_only_layers", "4"]) { $0["mlp_only_layers"] = [4] }
        config("an end token beyond the vocabulary", .badConfig, ["token 512"]) { $0["eos_token_id"] = 512 }.with {
            $0.files["generation_config.json"] = nil
        }
        config("sliding windows", .unsupportedArchitecture, ["sliding"]) { $0["use_sliding_window"] = true }
        config("rotary positions scaled otherwise", .unsupportedArchitecture, ["longrope"]) {
            $0["rope_scaling"] = ["type": "longrope", "factor": 4]
        }
        config("rotary parameters for each kind of layer", .unsupportedArchitecture, ["rope_parameters", "one set"]) {
            $0["rope_parameters"] = ["full_attention": ["rope_theta": 5e5]]
        }
        config("another activation", .unsupportedArchitecture, ["gelu"]) { $0["hidden_act"] = "gelu" }
        config("weights quantised otherwise", .unsupportedFormat, ["quantization_config"]) {
            $0["quantization_config"] = ["quant_method": "gptq"]
        }
        BadInput("top_p beyond one", .badConfig, ["generation_config.json", "top_p"]) {
            try $0.edit("generation_config.json") { $0["top_p"] = 1.5 }
        }
        BadInput("text as temperature", .badConfig, ["generation_config.json", "temperature"]) {
            try $0.edit("generation_config.json") { $0["temperature"] = "hot" }
        }
    }

    private static func tokenizer(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ change: @escaping @Sendable (inout [String: Any]) -> Void
    ) -> BadInput {
        BadInput(what, code, ["tokenizer.json"] + words) { try $0.edit("tokenizer.json", change) }
    }

    private static func model(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ change: @escaping @Sendable (inout [String: Any]) -> Void
    ) -> BadInput {
        tokenizer(what, code, words) { object in
            var model = object["model"] as? [String: Any] ?? [:]
            change(&model)
            object["model"] = model
        }
    }

    @BadInputs static var tokenizers: [BadInput] {
        BadInput("no tokenizer.json", .missingFile, ["tokenizer.json"]) { $0.files["tokenizer.json"] = nil }
        BadInput("half a tokenizer.json", .badJSON, ["tokenizer.json", "byte"]) {
            $0.files["tokenizer.json"] = Array(($0.files["tokenizer.json"] ?? []).prefix(5000))
        }
        model("another kind of tokenizer", .unsupportedTokenizer, ["Unigram"]) { $0["type"] = "Unigram" }
        model("byte fallback", .unsupportedTokenizer, ["byte_fallback"]) { $0["byte_fallback"] = true }
        model("no vocabulary", .badTokenizer, ["vocabulary"]) { $0["vocab"] = [String: Int]() }
        model("two tokens with one id", .badTokenizer, ["both have the id"]) { $0["vocab"] = ["a": 1, "b": 1] }
        model("a negative id", .badTokenizer, ["-4"]) { $0["vocab"] = ["a": -4] }
        model("an enormous id", .badTokenizer, ["id"]) { $0["vocab"] = ["a": 1 << 40] }
        model("a merge of three", .badTokenizer, ["merge number 0"]) { $0["merges"] = [["a", "b", "c"]] }
        model("a merge of unknown tokens", .badTokenizer, ["qqq"]) { $0["merges"] = [["qqq", "zzz"]] }
        model("a merge that is a number", .badConfig, ["merges"]) { $0["merges"] = [5] }
        tokenizer("another normalizer", .unsupportedTokenizer, ["Lowercase"]) {
            $0["normalizer"] = ["type": "Lowercase"]
        }
        tokenizer("another pre-tokenizer", .unsupportedTokenizer, ["Metaspace"]) {
            $0["pre_tokenizer"] = ["type": "Metaspace"]
        }
        BadInput(
            "a byte-level step that cuts by an expression of its own", .unsupportedTokenizer,
            ["tokenizer.json", "ByteLevel"]
        ) {
            try $0.replace("tokenizer.json", "\"use_regex\": false", "\"x\": false")
        }
        tokenizer("a post-processor that adds tokens", .unsupportedTokenizer, ["TemplateProcessing"]) {
            $0["post_processor"] = ["type": "TemplateProcessing"]
        }
        BadInput("another split expression", .unsupportedTokenizer, ["tokenizer.json", "split expression"]) {
            try $0.replace("tokenizer.json", "|\\\\p{N}|", "|\\\\p{N}{1,3}|")
        }
        tokenizer("an added token without content", .badTokenizer, ["added token"]) {
            $0["added_tokens"] = [["id": 5, "content": ""]]
        }
        tokenizer("a token beyond the vocabulary", .badTokenizer, ["600", "512"]) {
            $0["added_tokens"] =
                ($0["added_tokens"] as? [[String: Any]] ?? []) + [["id": 600, "content": "<x>", "special": true]]
        }
        BadInput("an end token that does not exist", .badTokenizer, ["tokenizer.json", "<|nope|>"]) {
            try $0.edit("tokenizer_config.json") { $0["bos_token"] = "<|nope|>" }
        }
        BadInput("a template with a macro", .unsupportedTemplate, ["tokenizer_config.json", "line 2", "macro"]) {
            try $0.edit("tokenizer_config.json") { $0["chat_template"] = "x\n{% macro f() %}{% endmacro %}" }
        }
        BadInput("a template that does not end", .unsupportedTemplate, ["chat_template.jinja", "line"]) {
            $0.files["chat_template.jinja"] = Array("{% for m in messages %}".utf8)
        }
        BadInput("a template that is not UTF-8", .unsupportedTemplate, ["chat_template.jinja", "UTF-8"]) {
            $0.files["chat_template.jinja"] = [0xC3, 0x28]
        }
    }

    /// Changes the weights, taken apart.
    private static func weights(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ change: @escaping @Sendable (inout SafetensorsImage) -> Void
    ) -> BadInput {
        BadInput(what, code, words) {
            var image = try SafetensorsImage($0.files["model.safetensors"] ?? [])
            change(&image)
            $0.files["model.safetensors"] = try image.file()
        }
    }

    private static let up = "model.layers.1.mlp.experts.3.up_proj.weight"

    /// Lets the header say something else about one expert's matrix.
    private static func lie(
        _ what: String, _ code: ImportError.Code, _ words: [String], _ key: String, _ value: any Sendable
    ) -> BadInput {
        BadInput(what, code, ["model.safetensors"] + words) {
            let image = try SafetensorsImage($0.files["model.safetensors"] ?? [])
            $0.files["model.safetensors"] = try image.file { header in
                var tensor = header[up] as? [String: Any] ?? [:]
                tensor[key] = value
                header[up] = tensor
            }
        }
    }

    @BadInputs static var weights: [BadInput] {
        BadInput("no weights", .missingFile, ["model.safetensors"]) { $0.files["model.safetensors"] = nil }
        BadInput("an empty file", .truncated, ["model.safetensors"]) { $0.files["model.safetensors"] = [] }
        BadInput("a header longer than the file", .truncated, ["model.safetensors", "header"]) {
            $0.files["model.safetensors"]?.replaceSubrange(0..<8, with: littleEndian(UInt64(90_000_000)))
        }
        BadInput("a header of exabytes", .badSafetensors, ["model.safetensors", "byte 0"]) {
            $0.files["model.safetensors"]?.replaceSubrange(0..<8, with: littleEndian(UInt64.max))
        }
        BadInput("a header that is no JSON", .badJSON, ["model.safetensors", "byte"]) {
            $0.files["model.safetensors"]?.replaceSubrange(8..<12, with: Array("\0\0\0\0".utf8))
        }
        BadInput("a missing last byte", .truncated, ["model.safetensors", "download it again"]) {
            $0.files["model.safetensors"]?.removeLast()
        }
        weights("a missing tensor", .missingTensor, [up]) { $0.tensors.removeAll { $0.name == up } }
        weights("a tensor too many", .unexpectedTensor, ["q_norm", "model.safetensors"]) {
            var twin = $0["model.layers.0.input_layernorm.weight"]
            twin.name = "model.layers.0.self_attn.q_norm.weight"
            $0[twin.name] = twin
        }
        weights("a wrong shape", .badShape, [up, "[64, 32]", "[32, 64]"]) { $0[up].shape = [64, 32] }
        lie("a shape that lies about its size", .badSafetensors, [up], "shape", [32, 65])
        lie("a shape that overflows", .badSafetensors, [up, "impossible"], "shape", [1 << 40, 1 << 40])
        lie("a negative shape", .badSafetensors, [up, "impossible"], "shape", [-1, 64])
        lie("too many dimensions", .badSafetensors, [up], "shape", [1, 1, 1, 32, 64])
        lie("text as a shape", .badConfig, [up, "an array"], "shape", "32x64")
        lie("an offset past the end", .truncated, [up], "data_offsets", [1 << 40, 1 << 40 | 8192])
        lie("offsets that run backwards", .badSafetensors, [up], "data_offsets", [8192, 0])
        lie("negative offsets", .badSafetensors, [up], "data_offsets", [-8192, 0])
        lie("one offset", .badSafetensors, [up], "data_offsets", [0])
        lie("no dtype", .badSafetensors, [up], "dtype", "")
        lie("another dtype", .unsupportedFormat, [up, "F8_E4M3"], "dtype", "F8_E4M3")
        lie("two tensors on the same bytes", .badSafetensors, ["overlap"], "data_offsets", [0, 8192])
        weights("a NaN in an expert", .badValue, ["model.safetensors", "row 0", up]) {
            $0[up].data.replaceSubrange(4..<8, with: littleEndian(Float.nan.bitPattern))
        }
        weights("an infinity in a norm", .badValue, ["model.norm.weight"]) {
            $0["model.norm.weight"].data.replaceSubrange(0..<4, with: littleEndian(Float.infinity.bitPattern))
        }
        weights("a NaN in the last row of the embedding", .badValue, ["row 511", "embed_tokens"]) {
            let end = $0["model.embed_tokens.weight"].data.count
            $0["model.embed_tokens.weight"].data.replaceSubrange(end - 4..<end, with: littleEndian(UInt32(0xFFC0_0000)))
        }
    }

    @BadInputs static var indices: [BadInput] {
        BadInput("an index without a map", .badIndex, ["index.json", "weight_map"]) {
            $0.files["model.safetensors.index.json"] = Array("{}".utf8)
        }
        BadInput("an index that names a missing part", .missingFile, ["index.json", "model-00002-of-00002"]) {
            $0.files["model-00002-of-00002.safetensors"] = nil
        }
        BadInput("an index that names a path", .missingFile, ["index.json", "../../etc/passwd"]) {
            try $0.replace("model.safetensors.index.json", "model-00001-of-00002.safetensors", "../../etc/passwd")
        }
        BadInput("an index that puts a tensor in the wrong part", .badIndex, ["index.json", "should be in"]) {
            try $0.replace(
                "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        }
        BadInput("an index that leaves a tensor out", .badIndex, ["index.json", "lm_head.weight"]) {
            try $0.edit("model.safetensors.index.json") {
                var map = $0["weight_map"] as? [String: String] ?? [:]
                map["lm_head.weight"] = nil
                $0["weight_map"] = map
            }
        }
        BadInput("an index with a number for a part", .badConfig, ["index.json", "a string"]) {
            try $0.edit("model.safetensors.index.json") { $0["weight_map"] = ["lm_head.weight": 1] }
        }
        BadInput("a tensor in both parts", .duplicateTensor, ["lm_head.weight", "as well"]) {
            var second = try SafetensorsImage($0.files["model-00002-of-00002.safetensors"] ?? [])
            second["lm_head.weight"] = SafetensorsImage.Tensor(
                name: "lm_head.weight", dtype: "F32", shape: [1], data: [0, 0, 0, 0])
            $0.files["model-00002-of-00002.safetensors"] = try second.file()
        }
    }
}

extension BadInput {
    /// The same with one more change.
    func with(_ more: @escaping @Sendable (inout ModelFiles) throws -> Void) -> BadInput {
        BadInput(what, code, words) {
            try make(&$0)
            try more(&$0)
        }
    }
}

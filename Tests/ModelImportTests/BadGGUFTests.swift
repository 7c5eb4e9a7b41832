// GGUF files that lie, each refused by file, place, reason and remedy.
import FunctionModel
import ModelImport
import Testing

@Suite struct BadGGUFTests {
    @Test("The tiny model that these tests damage is a good one")
    func tiny() throws {
        let manifest = try GGUFImage.tiny().files.run().manifest
        #expect(manifest.functions.map(\.name) == ["router", "L00-E000", "L00-E001"])
        #expect(!manifest.hasChatTemplate)
    }

    @Test("A GGUF file with a bad header is refused", arguments: headers)
    func header(_ bad: BadInput) throws { try bad.check(ModelFiles(files: [:])) }

    @Test("A GGUF file with bad metadata is refused", arguments: metadata)
    func value(_ bad: BadInput) throws { try bad.check(ModelFiles(files: [:])) }

    @Test("A GGUF file with bad tensors is refused", arguments: tensors)
    func tensor(_ bad: BadInput) throws { try bad.check(ModelFiles(files: [:])) }

    /// Changes the tiny model before it is written.
    private static func gguf(
        _ what: String, _ code: ImportError.Code = .badGGUF, _ words: [String],
        _ change: @escaping @Sendable (inout GGUFImage) -> Void
    ) -> BadInput {
        BadInput(what, code, ["tiny.gguf"] + words) {
            var image = GGUFImage.tiny()
            change(&image)
            $0 = image.files
        }
    }

    /// Keeps only `length` bytes of the tiny model, or all but the last few.
    private static func cut(_ what: String, _ words: [String], to length: Int) -> BadInput {
        BadInput(what, .truncated, ["tiny.gguf"] + words) {
            let file = GGUFImage.tiny().file
            $0.files = ["tiny.gguf": Array(file[..<(length > 0 ? length : file.count + length)])]
        }
    }

    @BadInputs static var headers: [BadInput] {
        gguf("another magic", .notAModel, ["GGUF"]) { $0.magic = Array("GGML".utf8) }
        gguf("version 1", .unsupportedFormat, ["version 1"]) { $0.version = 1 }
        gguf("a big-endian file", .unsupportedFormat, ["big-endian"]) { $0.version = 3 << 24 }
        cut("only the magic", ["cut off"], to: 6)
        gguf("too many tensors", .badGGUF, ["byte 8", "tensors"]) { $0.tensorCount = 1 << 60 }
        gguf("more tensors than there are", .badGGUF, ["byte"]) { $0.tensorCount = 100 }
        gguf("too many values", .badGGUF, ["byte 16", "metadata values"]) { $0.valueCount = .max }
        gguf("more values than there are", .badGGUF, ["byte"]) { $0.valueCount = 30 }
        gguf("fewer values than there are", .badGGUF, ["byte"]) { $0.valueCount = 3 }
        gguf("a key twice", .badGGUF, ["qwen2moe.block_count", "twice"]) {
            $0.values.append(("qwen2moe.block_count", .u32(1)))
        }
        gguf("a string of exabytes", .badGGUF, ["bytes in"]) { $0["x.y"] = .raw(8, littleEndian(UInt64.max)) }
        gguf("a string longer than 64 KiB", .badGGUF, ["70000"]) {
            $0["x.y"] = .string([UInt8](repeating: 65, count: 70_000))
        }
        gguf("a string that is not UTF-8", .badGGUF, ["x.y", "UTF-8"]) { $0["x.y"] = .string([0xFF, 0xFE]) }
        gguf("an array of arrays", .badGGUF, ["x.y", "arrays"]) {
            $0["x.y"] = .raw(9, littleEndian(UInt32(9)) + littleEndian(UInt64(1)))
        }
        gguf("an array too long", .badGGUF, ["elements of x.y"]) {
            $0["x.y"] = .raw(9, littleEndian(UInt32(4)) + littleEndian(UInt64(2_000_000)))
        }
        gguf("an unknown value type", .badGGUF, ["x.y", "77"]) { $0["x.y"] = .raw(77, [0, 0]) }
        gguf("a truth value of two", .badGGUF, ["x.y", "neither"]) { $0["x.y"] = .bool(2) }
        gguf("a strange alignment", .badGGUF, ["alignment"]) { $0["general.alignment"] = .u32(33) }
    }

    @BadInputs static var metadata: [BadInput] {
        gguf("no architecture", .badGGUF, ["general.architecture"]) { $0["general.architecture"] = nil }
        gguf("another architecture", .unsupportedArchitecture, ["gemma9"]) {
            $0["general.architecture"] = .string(Array("gemma9".utf8))
        }
        gguf("a number as architecture", .badGGUF, ["general.architecture", "a string"]) {
            $0["general.architecture"] = .u32(1)
        }
        gguf("one part of several", .missingFile, ["one of 3 parts"]) { $0["split.count"] = .u32(3) }
        gguf("no expert count", .badGGUF, ["qwen2moe.expert_count"]) { $0["qwen2moe.expert_count"] = nil }
        gguf("too many experts", .badConfig, ["expert_count", "4294967295"]) {
            $0["qwen2moe.expert_count"] = .u32(.max)
        }
        gguf("a number beyond all", .badGGUF, ["qwen2moe.expert_count"]) { $0["qwen2moe.expert_count"] = .u64(.max) }
        gguf("text as a number", .badGGUF, ["block_count", "whole number"]) {
            $0["qwen2moe.block_count"] = .string([65])
        }
        gguf("an epsilon that is NaN", .badConfig, ["epsilon"]) {
            $0["qwen2moe.attention.layer_norm_rms_epsilon"] = .f32(.nan)
        }
        gguf("a rotary base that is infinite", .badConfig, ["rotary"]) {
            $0["qwen2moe.rope.freq_base"] = .f32(.infinity)
        }
        gguf("scaled rotary positions", .unsupportedArchitecture, ["rope.scaling"]) {
            $0["qwen2moe.rope.scaling.type"] = .string(Array("longrope".utf8))
        }
        gguf("another tokenizer", .unsupportedTokenizer, ["bert"]) {
            $0["tokenizer.ggml.model"] = .string(Array("bert".utf8))
        }
        gguf("another pre-tokenizer", .unsupportedTokenizer, ["tokenizer.ggml.pre"]) {
            $0["tokenizer.ggml.pre"] = .string(Array("deepseek-v3".utf8))
        }
        gguf("no tokens", .badGGUF, ["tokenizer.ggml.tokens"]) { $0["tokenizer.ggml.tokens"] = nil }
        gguf("tokens that are numbers", .badGGUF, ["tokenizer.ggml.tokens", "strings"]) {
            $0["tokenizer.ggml.tokens"] = .ints([1, 2])
        }
        gguf("fewer types than tokens", .badTokenizer, ["259 tokens", "2 token types"]) {
            $0["tokenizer.ggml.token_type"] = .ints([1, 1])
        }
        gguf("a merge of one", .badTokenizer, ["merge number 0"]) { $0["tokenizer.ggml.merges"] = .strings(["ab"]) }
        gguf("a merge of unknown tokens", .badTokenizer, ["tiny.gguf"]) {
            $0["tokenizer.ggml.merges"] = .strings(["ab ab"])
        }
        gguf("an end token that does not exist", .badTokenizer, ["eos_token_id", "900"]) {
            $0["tokenizer.ggml.eos_token_id"] = .u32(900)
        }
        gguf("a template with an include", .unsupportedTemplate, ["chat_template", "line 1"]) {
            $0["tokenizer.chat_template"] = .string(Array("{% include 'x' %}".utf8))
        }
    }

    @BadInputs static var tensors: [BadInput] {
        gguf("no dimensions", .badGGUF, ["attn_k", "dimensions"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [] }
        }
        gguf("five dimensions", .badGGUF, ["attn_k", "dimensions"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [32, 1, 1, 1, 16] }
        }
        gguf("an empty dimension", .badGGUF, ["attn_k", "impossible"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [32, 0] }
        }
        gguf("a dimension of exabytes", .badGGUF, ["attn_k"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [.max, 2] }
        }
        gguf("a shape that overflows", .badGGUF, ["attn_k", "impossible"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [1 << 31, 1 << 40, 1 << 40, 1 << 40] }
        }
        gguf("rows that are not whole blocks", .badGGUF, ["ffn_up_exps", "impossible"]) {
            $0.tensor("blk.0.ffn_up_exps.weight") { $0.dimensions = [33, 32, 2] }
        }
        gguf("IQ4_XS", .unsupportedFormat, ["attn_k", "IQ4_XS"]) { $0.tensor("blk.0.attn_k.weight") { $0.type = 23 } }
        gguf("an unknown type", .unsupportedFormat, ["attn_k", "4711"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.type = 4711 }
        }
        gguf("a misaligned offset", .badGGUF, ["attn_k", "multiple of 32"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.offset = 33 }
        }
        gguf("an offset past the end", .truncated, ["attn_k"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.offset = 1 << 40 }
        }
        gguf("an offset that overflows", .badGGUF, ["attn_k"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.offset = .max - 31 }
        }
        gguf("overlapping tensors", .badGGUF, ["overlap"]) { $0.tensor("blk.0.attn_k.weight") { $0.offset = 0 } }
        gguf("a tensor twice", .duplicateTensor, ["attn_q.weight"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.name = "blk.0.attn_q.weight" }
        }
        gguf("a missing tensor", .missingTensor, ["ffn_down_exps"]) {
            $0.tensors.removeAll { $0.name == "blk.0.ffn_down_exps.weight" }
        }
        gguf("a tensor too many", .unexpectedTensor, ["rope_freqs"]) {
            $0.tensors.append(
                .init(name: "rope_freqs.weight", dimensions: [8], type: 0, data: [UInt8](repeating: 0, count: 32)))
        }
        gguf("a wrong shape", .badShape, ["attn_k", "[8, 32]", "[16, 32]"]) {
            $0.tensor("blk.0.attn_k.weight") { $0.dimensions = [32, 8] }
        }
        gguf("fewer experts than stated", .badShape, ["ffn_gate_exps"]) {
            $0.tensor("blk.0.ffn_gate_exps.weight") { $0.dimensions = [32, 32, 1] }
        }
        gguf("a scale that is NaN", .badValue, ["ffn_up_exps", "row 1"]) {
            $0.tensor("blk.0.ffn_up_exps.weight") { $0.data[34 + 1] = 0x7E }
        }
        gguf("a scale that is infinite", .badValue, ["ffn_up_exps", "row 31"]) {
            $0.tensor("blk.0.ffn_up_exps.weight") { $0.data[(32 + 31) * 34 + 1] = 0x7C }
        }
        cut("no last byte", ["file ends"], to: -1)
    }
}

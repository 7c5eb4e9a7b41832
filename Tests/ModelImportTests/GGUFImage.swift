// A GGUF file built from parts, valid unless a test makes it lie. `tiny()` is a whole model: one layer, two
// experts, rows of 32, weights zero.

struct GGUFImage {
    enum Value {
        case u32(UInt32)
        case u64(UInt64)
        case f32(Float)
        case bool(UInt8)
        case string([UInt8])
        case strings([String])
        case ints([Int32])
        case floats([Float])
        /// Type number and bytes, whatever they are.
        case raw(UInt32, [UInt8])
    }

    struct Tensor {
        var name: String
        /// Innermost first.
        var dimensions: [UInt64]
        var type: UInt32
        var data: [UInt8]
        /// What the file says instead of where the data is.
        var offset: UInt64?
    }

    var magic = Array("GGUF".utf8)
    var version: UInt32 = 3
    var values: [(String, Value)] = []
    var tensors: [Tensor] = []
    var tensorCount: UInt64?
    var valueCount: UInt64?

    subscript(key: String) -> Value? {
        get { values.first { $0.0 == key }?.1 }
        set {
            let place = values.firstIndex { $0.0 == key }
            if let place { values.remove(at: place) }
            if let newValue { values.insert((key, newValue), at: place ?? values.count) }
        }
    }

    mutating func tensor(_ name: String, _ change: (inout Tensor) -> Void) {
        for index in tensors.indices where tensors[index].name == name { change(&tensors[index]) }
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] { littleEndian(UInt64(bytes.count)) + bytes }

    private static func bytes(_ value: Value) -> [UInt8] {
        switch value {
        case .u32(let number): littleEndian(UInt32(4)) + littleEndian(number)
        case .u64(let number): littleEndian(UInt32(10)) + littleEndian(number)
        case .f32(let number): littleEndian(UInt32(6)) + littleEndian(number.bitPattern)
        case .bool(let byte): littleEndian(UInt32(7)) + [byte]
        case .string(let text): littleEndian(UInt32(8)) + string(text)
        case .strings(let texts):
            littleEndian(UInt32(9)) + littleEndian(UInt32(8)) + littleEndian(UInt64(texts.count))
                + texts.flatMap { string(Array($0.utf8)) }
        case .ints(let numbers):
            littleEndian(UInt32(9)) + littleEndian(UInt32(5)) + littleEndian(UInt64(numbers.count))
                + numbers.flatMap { littleEndian($0) }
        case .floats(let numbers):
            littleEndian(UInt32(9)) + littleEndian(UInt32(6)) + littleEndian(UInt64(numbers.count))
                + numbers.flatMap { littleEndian($0.bitPattern) }
        case .raw(let type, let bytes): littleEndian(type) + bytes
        }
    }

    var file: [UInt8] {
        var out = magic + littleEndian(version) + littleEndian(tensorCount ?? UInt64(tensors.count))
        out += littleEndian(valueCount ?? UInt64(values.count))
        for (key, value) in values { out += Self.string(Array(key.utf8)) + Self.bytes(value) }
        var data: [UInt8] = []
        for tensor in tensors {
            out += Self.string(Array(tensor.name.utf8)) + littleEndian(UInt32(tensor.dimensions.count))
            for size in tensor.dimensions { out += littleEndian(size) }
            out += littleEndian(tensor.type) + littleEndian(tensor.offset ?? UInt64(data.count))
            data += tensor.data
            data += [UInt8](repeating: 0, count: (32 - data.count % 32) % 32)
        }
        out += [UInt8](repeating: 0, count: (32 - out.count % 32) % 32)
        return out + data
    }

    var files: ModelFiles { ModelFiles(files: ["tiny.gguf": file]) }

    /// The same model cut into files as llama-gguf-split does it: metadata in the first, tensors dealt out.
    func parts(_ count: Int) -> ModelFiles {
        var files: [String: [UInt8]] = [:]
        for number in 0..<count {
            var part = GGUFImage()
            part.values = number == 0 ? values : []
            part.values += [
                ("split.no", .u32(UInt32(number))), ("split.count", .u32(UInt32(count))),
                ("split.tensors.count", .raw(5, littleEndian(Int32(tensors.count)))),
            ]
            part.tensors = tensors.enumerated().filter { $0.offset % count == number }.map(\.element)
            files["tiny-0000\(number + 1)-of-0000\(count).gguf"] = part.file
        }
        return ModelFiles(files: files)
    }

    static func tiny() -> GGUFImage {
        var image = GGUFImage()
        // One token per byte, in the byte-level alphabet, then two special ones.
        let alphabet = (0..<256).map { byte -> String in
            let printable = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
            let shifted = (0..<byte).count {
                !((33...126).contains($0) || (161...172).contains($0) || (174...255).contains($0))
            }
            return Unicode.Scalar(UInt32(printable ? byte : 256 + shifted)).map { String($0) } ?? ""
        }
        let tokens = alphabet + ["ab", "<|im_start|>", "<|im_end|>"]
        image.values = [
            ("general.architecture", .string(Array("qwen2moe".utf8))),
            ("qwen2moe.block_count", .u32(1)), ("qwen2moe.context_length", .u32(64)),
            ("qwen2moe.embedding_length", .u32(32)), ("qwen2moe.feed_forward_length", .u32(64)),
            ("qwen2moe.attention.head_count", .u32(2)), ("qwen2moe.attention.head_count_kv", .u32(1)),
            ("qwen2moe.attention.layer_norm_rms_epsilon", .f32(1e-6)), ("qwen2moe.expert_count", .u32(2)),
            ("qwen2moe.expert_used_count", .u32(1)), ("qwen2moe.expert_feed_forward_length", .u32(32)),
            ("qwen2moe.expert_shared_feed_forward_length", .u32(32)),
            ("tokenizer.ggml.model", .string(Array("gpt2".utf8))), ("tokenizer.ggml.pre", .string(Array("qwen2".utf8))),
            ("tokenizer.ggml.tokens", .strings(tokens)),
            ("tokenizer.ggml.token_type", .ints(tokens.indices.map { $0 < 257 ? 1 : 3 })),
            ("tokenizer.ggml.merges", .strings(["a b"])), ("tokenizer.ggml.eos_token_id", .u32(258)),
        ]
        func add(_ name: String, _ dimensions: [UInt64], type: UInt32 = 0) {
            let count = Int(dimensions.reduce(1, *))
            let bytes = type == 0 ? count * 4 : count / 32 * 34
            image.tensors.append(
                Tensor(name: name, dimensions: dimensions, type: type, data: [UInt8](repeating: 0, count: bytes)))
        }
        add("token_embd.weight", [32, 259])
        for name in ["attn_norm", "ffn_norm", "ffn_gate_inp_shexp"] { add("blk.0.\(name).weight", [32]) }
        add("blk.0.attn_q.weight", [32, 32])
        add("blk.0.attn_q.bias", [32])
        for name in ["attn_k", "attn_v"] {
            add("blk.0.\(name).weight", [32, 16])
            add("blk.0.\(name).bias", [16])
        }
        add("blk.0.attn_output.weight", [32, 32])
        add("blk.0.ffn_gate_inp.weight", [32, 2])
        for name in ["gate", "up", "down"] {
            add("blk.0.ffn_\(name)_exps.weight", [32, 32, 2], type: 8)
            add("blk.0.ffn_\(name)_shexp.weight", [32, 32])
        }
        add("output_norm.weight", [32])
        add("output.weight", [32, 259])
        return image
    }
}

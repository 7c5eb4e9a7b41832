// The head of a GGUF file, version 3, little-endian: metadata, then where each tensor lies. See
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Keys and their types are those that llama.cpp's
// converter writes for Qwen2-MoE.
import Kernels

/// Header bytes, padded to where the first tensor begins, and the tensors' places from there.
struct GGUFHeader {
    static let alignment = 32
    private(set) var bytes: [UInt8] = []
    /// Bytes from the start of the file, one per tensor.
    let offsets: [Int]
    /// Bytes of the whole file.
    let fileBytes: Int

    init(_ shape: ModelShape, _ format: WeightFormat, title: String, _ tensors: [TensorSpec]) {
        var places: [Int] = []
        var end = 0
        for tensor in tensors {
            places.append(end)
            end = Self.aligned(end + tensor.byteCount)
        }
        var out = GGUFBytes()
        out.values(shape, format, title)
        for (tensor, place) in zip(tensors, places) {
            out.string(tensor.name)
            out.integer(UInt32(tensor.dimensions.count))
            for size in tensor.dimensions { out.integer(UInt64(size)) }
            out.integer(tensor.format.ggmlType)
            out.integer(UInt64(place))
        }
        var head = GGUFBytes()
        head.bytes = Array("GGUF".utf8)
        head.integer(UInt32(3))
        head.integer(UInt64(tensors.count))
        head.integer(UInt64(out.count))
        bytes = head.bytes + out.bytes
        bytes += [UInt8](repeating: 0, count: Self.aligned(bytes.count) - bytes.count)
        let data = bytes.count
        offsets = places.map { data + $0 }
        fileBytes = data + end
    }

    private static func aligned(_ n: Int) -> Int { (n + alignment - 1) / alignment * alignment }

    /// llama.cpp's number for a file that is mostly of this format.
    fileprivate static func fileType(_ format: WeightFormat) -> UInt32 {
        switch format {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q4_1: 3
        case .q8_0: 7
        case .q5_0: 8
        case .q5_1: 9
        case .q4_k: 15
        case .q5_k: 17
        case .q6_k: 18
        case .bf16: 32
        }
    }
}

/// GGUF's encodings, one after another.
private struct GGUFBytes {
    var bytes: [UInt8] = []
    /// Metadata values so far.
    private(set) var count = 0

    mutating func integer<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func string(_ text: String) {
        integer(UInt64(text.utf8.count))
        bytes += text.utf8
    }

    private mutating func key(_ name: String, _ type: UInt32) {
        string(name)
        integer(type)
        count += 1
    }

    private mutating func put(_ name: String, _ value: Int) {
        key(name, 4)
        integer(UInt32(value))
    }

    private mutating func put(_ name: String, _ value: Float) {
        key(name, 6)
        integer(value.bitPattern)
    }

    private mutating func put(_ name: String, _ value: Bool) {
        key(name, 7)
        bytes.append(value ? 1 : 0)
    }

    private mutating func put(_ name: String, _ value: String) {
        key(name, 8)
        string(value)
    }

    private mutating func put(_ name: String, _ values: [String]) {
        key(name, 9)
        integer(UInt32(8))
        integer(UInt64(values.count))
        for value in values { string(value) }
    }

    private mutating func put(_ name: String, _ values: [Int32]) {
        key(name, 9)
        integer(UInt32(5))
        integer(UInt64(values.count))
        for value in values { integer(value) }
    }

    mutating func values(_ shape: ModelShape, _ format: WeightFormat, _ title: String) {
        let prefix = "qwen2moe."
        put("general.architecture", "qwen2moe")
        put("general.type", "model")
        put("general.name", title)
        put("general.file_type", Int(GGUFHeader.fileType(format)))
        put("general.quantization_version", 2)
        put(prefix + "block_count", shape.layers)
        put(prefix + "context_length", shape.context)
        put(prefix + "embedding_length", shape.hidden)
        put(prefix + "feed_forward_length", shape.sharedWidth)
        put(prefix + "attention.head_count", shape.heads)
        put(prefix + "attention.head_count_kv", shape.kvHeads)
        put(prefix + "rope.freq_base", Float(shape.ropeBase))
        put(prefix + "attention.layer_norm_rms_epsilon", Float(1e-6))
        put(prefix + "expert_count", shape.experts)
        put(prefix + "expert_used_count", shape.expertsPerToken)
        put(prefix + "expert_feed_forward_length", shape.expertWidth)
        put(prefix + "expert_shared_feed_forward_length", shape.sharedWidth)
        put(prefix + "vocab_size", shape.vocabulary)
        let tokenizer = SyntheticTokenizer(count: shape.vocabulary)
        put("tokenizer.ggml.model", "gpt2")
        put("tokenizer.ggml.pre", "qwen2")
        put("tokenizer.ggml.tokens", tokenizer.tokens)
        // 1 is an ordinary token, 3 a control token.
        put("tokenizer.ggml.token_type", tokenizer.tokens.indices.map { $0 < tokenizer.endOfText ? 1 : 3 })
        put("tokenizer.ggml.merges", tokenizer.merges)
        put("tokenizer.ggml.bos_token_id", tokenizer.endOfText)
        put("tokenizer.ggml.eos_token_id", tokenizer.endOfTurn)
        put("tokenizer.ggml.padding_token_id", tokenizer.endOfText)
        put("tokenizer.ggml.add_bos_token", false)
        put("tokenizer.chat_template", SyntheticTokenizer.chatTemplate)
    }
}

// A whole llama model with experts: one layer, two heads and two experts, rows of 32, each filled with its number.

extension GGUFImage {
    /// - Parameter perExpert: a tensor for each expert, as files of 2023 have them.
    static func mixtral(perExpert: Bool = false) -> GGUFImage {
        var image = GGUFImage()
        let bytes = (0..<256).map { byte -> String in
            let digits = String(byte, radix: 16, uppercase: true)
            return "<0x\(digits.count == 1 ? "0" : "")\(digits)>"
        }
        let tokens = ["<unk>", "<s>", "</s>"] + bytes + ["▁", "a", "b", "ab", "▁ab"]
        image.values = [
            ("general.architecture", .string(Array("llama".utf8))),
            ("llama.block_count", .u32(1)), ("llama.context_length", .u32(64)),
            ("llama.embedding_length", .u32(32)), ("llama.feed_forward_length", .u32(32)),
            ("llama.attention.head_count", .u32(2)), ("llama.attention.head_count_kv", .u32(1)),
            ("llama.attention.layer_norm_rms_epsilon", .f32(1e-5)), ("llama.expert_count", .u32(2)),
            ("llama.expert_used_count", .u32(1)), ("llama.rope.dimension_count", .u32(16)),
            ("tokenizer.ggml.model", .string(Array("llama".utf8))), ("tokenizer.ggml.tokens", .strings(tokens)),
            ("tokenizer.ggml.scores", .floats(tokens.indices.map { -Float($0) })),
            ("tokenizer.ggml.token_type", .ints(tokens.indices.map { $0 == 0 ? 2 : $0 < 3 ? 3 : $0 < 259 ? 6 : 1 })),
            ("tokenizer.ggml.bos_token_id", .u32(1)), ("tokenizer.ggml.eos_token_id", .u32(2)),
        ]
        func add(_ name: String, _ rows: Int, stacked: Int = 0, first: Int = 0) {
            let data = (0..<max(1, stacked) * rows).flatMap { row in
                (0..<32).flatMap { _ in littleEndian(Float(first + row).bitPattern) }
            }
            let dimensions = [32, UInt64(rows)] + (stacked > 0 ? [UInt64(stacked)] : [])
            image.tensors.append(Tensor(name: name, dimensions: dimensions, type: 0, data: data))
        }
        add("token_embd.weight", tokens.count)
        for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] { add("\(name).weight", 1) }
        add("blk.0.attn_q.weight", 32)
        add("blk.0.attn_k.weight", 16)
        add("blk.0.attn_v.weight", 16)
        add("blk.0.attn_output.weight", 32)
        add("blk.0.ffn_gate_inp.weight", 2)
        for name in ["gate", "up", "down"] {
            if perExpert {
                for expert in 0..<2 { add("blk.0.ffn_\(name).\(expert).weight", 32, first: 32 * expert) }
            } else {
                add("blk.0.ffn_\(name)_exps.weight", 32, stacked: 2)
            }
        }
        add("output.weight", tokens.count)
        return image
    }
}

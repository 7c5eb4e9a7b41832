// What tensors are called. A tensor may have several names, since files of one architecture were written by several
// generations of tools; which of them is meant shows in which the file has.
import Shard

/// What a tensor is called: `{L}` stands for the layer, `{E}` for the expert. Without `{E}` the name of an expert's
/// matrix is that of one tensor (experts, rows, cols) for all experts of the layer.
struct TensorName: ExpressibleByStringLiteral {
    /// Which rows of each matrix are meant.
    enum Part {
        case all, firstHalf, secondHalf
    }

    let pattern: String
    let part: Part

    init(_ pattern: String, _ part: Part) { (self.pattern, self.part) = (pattern, part) }
    init(stringLiteral pattern: String) { self.init(pattern, .all) }

    var namesExpert: Bool { pattern.contains("{E}") }

    func filled(layer: Int, expert: Int) -> String {
        pattern.split(separator: "{", omittingEmptySubsequences: false).enumerated().map { index, piece in
            if index == 0 { return String(piece) }
            return "\(piece.first == "L" ? layer : expert)\(piece.dropFirst(2))"
        }.joined()
    }
}

/// Names of tensors by role, the usual one first.
struct TensorNames: ExpressibleByDictionaryLiteral {
    private var names: [ShardRole: [TensorName]]

    init(dictionaryLiteral elements: (ShardRole, [TensorName])...) { names = Dictionary(elements) { $1 } }

    /// Empty for a role that has no tensor.
    subscript(role: ShardRole) -> [TensorName] { names[role] ?? [] }

    /// These names, but the other ones for roles that both have.
    func with(_ others: TensorNames) -> TensorNames {
        var all = self
        all.names.merge(others.names) { $1 }
        return all
    }
}

extension TensorNames {
    /// Hugging Face's names as most architectures have them. Transformers from version 5 on may write the experts of a
    /// layer as one tensor, gate and up together.
    static let huggingFace: TensorNames = [
        .tokenEmbedding: ["model.embed_tokens.weight"],
        .outputNorm: ["model.norm.weight"],
        .output: ["lm_head.weight"],
        .attentionNorm: ["model.layers.{L}.input_layernorm.weight"],
        .q: ["model.layers.{L}.self_attn.q_proj.weight"],
        .k: ["model.layers.{L}.self_attn.k_proj.weight"],
        .v: ["model.layers.{L}.self_attn.v_proj.weight"],
        .o: ["model.layers.{L}.self_attn.o_proj.weight"],
        .ffnNorm: ["model.layers.{L}.post_attention_layernorm.weight"],
        .gate: ["model.layers.{L}.mlp.gate.weight"],
        .expertGate: [
            "model.layers.{L}.mlp.experts.{E}.gate_proj.weight",
            TensorName("model.layers.{L}.mlp.experts.gate_up_proj", .firstHalf),
        ],
        .expertUp: [
            "model.layers.{L}.mlp.experts.{E}.up_proj.weight",
            TensorName("model.layers.{L}.mlp.experts.gate_up_proj", .secondHalf),
        ],
        .expertDown: [
            "model.layers.{L}.mlp.experts.{E}.down_proj.weight", "model.layers.{L}.mlp.experts.down_proj",
        ],
    ]

    /// Names of layers without experts, where an architecture has such.
    static let huggingFaceDense: TensorNames = [
        .denseGate: ["model.layers.{L}.mlp.gate_proj.weight"],
        .denseUp: ["model.layers.{L}.mlp.up_proj.weight"],
        .denseDown: ["model.layers.{L}.mlp.down_proj.weight"],
    ]

    /// Names of the norms of queries and keys, where an architecture has such.
    static let huggingFaceQueryKeyNorms: TensorNames = [
        .qNorm: ["model.layers.{L}.self_attn.q_norm.weight"],
        .kNorm: ["model.layers.{L}.self_attn.k_norm.weight"],
    ]

    /// GGUF's names, the same in all architectures. Files of 2023 have a tensor for each expert.
    static let gguf: TensorNames = [
        .tokenEmbedding: ["token_embd.weight"],
        .outputNorm: ["output_norm.weight"],
        .output: ["output.weight"],
        .attentionNorm: ["blk.{L}.attn_norm.weight"],
        .q: ["blk.{L}.attn_q.weight"],
        .k: ["blk.{L}.attn_k.weight"],
        .v: ["blk.{L}.attn_v.weight"],
        .o: ["blk.{L}.attn_output.weight"],
        .qBias: ["blk.{L}.attn_q.bias"],
        .kBias: ["blk.{L}.attn_k.bias"],
        .vBias: ["blk.{L}.attn_v.bias"],
        .qNorm: ["blk.{L}.attn_q_norm.weight"],
        .kNorm: ["blk.{L}.attn_k_norm.weight"],
        .ffnNorm: ["blk.{L}.ffn_norm.weight"],
        .gate: ["blk.{L}.ffn_gate_inp.weight"],
        .sharedExpertGate: ["blk.{L}.ffn_gate_inp_shexp.weight"],
        .sharedGate: ["blk.{L}.ffn_gate_shexp.weight"],
        .sharedUp: ["blk.{L}.ffn_up_shexp.weight"],
        .sharedDown: ["blk.{L}.ffn_down_shexp.weight"],
        .denseGate: ["blk.{L}.ffn_gate.weight"],
        .denseUp: ["blk.{L}.ffn_up.weight"],
        .denseDown: ["blk.{L}.ffn_down.weight"],
        .expertGate: ["blk.{L}.ffn_gate_exps.weight", "blk.{L}.ffn_gate.{E}.weight"],
        .expertUp: ["blk.{L}.ffn_up_exps.weight", "blk.{L}.ffn_up.{E}.weight"],
        .expertDown: ["blk.{L}.ffn_down_exps.weight", "blk.{L}.ffn_down.{E}.weight"],
    ]
}

// Qwen2-MoE (Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B): biases on q, k and v, a shared expert with a sigmoid gate,
// layers without experts where the configuration says so.
// https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen2_moe
import Shard

extension Architecture {
    static let qwen2moe = Architecture(
        name: "qwen2moe",
        huggingFaceType: "qwen2_moe",
        ggufType: "qwen2moe",
        huggingFaceNames: .huggingFace.with(.huggingFaceDense).with([
            .qBias: ["model.layers.{L}.self_attn.q_proj.bias"],
            .kBias: ["model.layers.{L}.self_attn.k_proj.bias"],
            .vBias: ["model.layers.{L}.self_attn.v_proj.bias"],
            .sharedExpertGate: ["model.layers.{L}.mlp.shared_expert_gate.weight"],
            .sharedGate: ["model.layers.{L}.mlp.shared_expert.gate_proj.weight"],
            .sharedUp: ["model.layers.{L}.mlp.shared_expert.up_proj.weight"],
            .sharedDown: ["model.layers.{L}.mlp.shared_expert.down_proj.weight"],
        ]),
        hasAttentionBias: true)
}

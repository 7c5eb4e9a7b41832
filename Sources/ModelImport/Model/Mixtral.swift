// Mixtral (8x7B, 8x22B): experts and nothing beside them, their weights always divided by their sum. In GGUF it is a
// llama model that has experts, whose rotary pairs lie next to each other.
// https://github.com/huggingface/transformers/blob/main/src/transformers/models/mixtral
import Shard

extension Architecture {
    static let mixtral = Architecture(
        name: "mixtral",
        huggingFaceType: "mixtral",
        ggufType: "llama",
        huggingFaceNames: .huggingFace.with([
            .gate: ["model.layers.{L}.block_sparse_moe.gate.weight", "model.layers.{L}.mlp.gate.weight"],
            .expertGate: [
                "model.layers.{L}.block_sparse_moe.experts.{E}.w1.weight",
                TensorName("model.layers.{L}.mlp.experts.gate_up_proj", .firstHalf),
            ],
            .expertUp: [
                "model.layers.{L}.block_sparse_moe.experts.{E}.w3.weight",
                TensorName("model.layers.{L}.mlp.experts.gate_up_proj", .secondHalf),
            ],
            .expertDown: [
                "model.layers.{L}.block_sparse_moe.experts.{E}.w2.weight", "model.layers.{L}.mlp.experts.down_proj",
            ],
        ]),
        expertCountKey: "num_local_experts",
        expertWidthKey: "intermediate_size",
        epsilon: 1e-5,
        ropeTheta: 1e6,
        normalizesTopK: true,
        ggufNormalizesTopK: true,
        hasSlidingWindow: true,
        ggufInterleavesPairs: true)
}

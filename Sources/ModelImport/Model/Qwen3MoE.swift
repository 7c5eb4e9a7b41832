// Qwen3-MoE (Qwen3-30B-A3B, Qwen3-235B-A22B): queries and keys are normalised head by head, and a head's
// size does not follow from the hidden one. GGUF files do not say that the experts' weights are divided by their sum;
// in all published models they are.
// https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen3_moe
import Shard

extension Architecture {
    static let qwen3moe = Architecture(
        name: "qwen3moe",
        huggingFaceType: "qwen3_moe",
        ggufType: "qwen3moe",
        huggingFaceNames: .huggingFace.with(.huggingFaceDense).with(.huggingFaceQueryKeyNorms),
        queryKeyNorm: .perHead,
        ggufNormalizesTopK: true)
}

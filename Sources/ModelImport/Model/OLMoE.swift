// OLMoE (OLMoE-1B-7B): queries and keys are normalised over all heads together.
// https://github.com/huggingface/transformers/blob/main/src/transformers/models/olmoe
import Shard

extension Architecture {
    static let olmoe = Architecture(
        name: "olmoe",
        huggingFaceType: "olmoe",
        ggufType: "olmoe",
        huggingFaceNames: .huggingFace.with(.huggingFaceQueryKeyNorms),
        expertWidthKey: "intermediate_size",
        epsilon: 1e-5,
        queryKeyNorm: .acrossHeads)
}

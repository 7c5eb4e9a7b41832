// What differs between architectures, as tables: what their tensors are called, which keys their configurations have,
// and what holds for all models of an architecture without being written down in any. An architecture that computes
// differently gets a field in `RouterConfig`, not a branch here.
import Shard

/// An architecture that can be imported.
struct Architecture {
    /// What the router is told.
    let name: String
    /// As in config.json's `model_type`.
    let huggingFaceType: String
    /// As in GGUF's `general.architecture`.
    let ggufType: String
    let huggingFaceNames: TensorNames
    /// Keys of config.json: how many experts a layer has, and how wide they are.
    var expertCountKey = "num_experts"
    var expertWidthKey = "moe_intermediate_size"
    /// What stands for values that config.json leaves out.
    var epsilon = 1e-6
    var ropeTheta = 10_000.0
    /// Whether q, k and v have biases; GGUF files show it by their tensors.
    var hasAttentionBias = false
    var queryKeyNorm = RouterConfig.QueryKeyNorm.none
    /// Whether the chosen experts' weights are divided by their sum; nil: config.json says so.
    var normalizesTopK: Bool?
    /// The same for GGUF metadata that do not say.
    var ggufNormalizesTopK = false
    /// Whether `sliding_window` holds without `use_sliding_window`.
    var hasSlidingWindow = false
    /// Whether GGUF files have the rotary pairs of q and k next to each other.
    var ggufInterleavesPairs = false

    static let all: [Architecture] = [.qwen2moe, .qwen3moe, .mixtral, .olmoe]

    static var supported: String {
        all.map { "\($0.huggingFaceType) (GGUF: \($0.ggufType))" }.joined(separator: ", ")
    }

    static func unsupported(_ file: String, _ what: String) -> ImportError {
        ImportError(
            .unsupportedArchitecture,
            "\(file): the architecture is \(what.prefix(80)); supported: \(supported). Use a model of one of these")
    }
}

// What differs between architectures, as tables: which names their tensors have in each file format. The
// values that a router computes with are read by `HFConfig` and `GGUFConfig`; an architecture that computes
// differently gets a field in `RouterConfig`, not a branch here.
import Shard

/// An architecture that can be imported.
struct Architecture {
    /// As in GGUF's `general.architecture`; also what the router is told.
    let name: String
    /// As in config.json's `model_type`.
    let huggingFaceType: String
    /// Tensor names by role, `{L}` for the layer and `{E}` for the expert.
    let huggingFaceNames: [ShardRole: String]
    /// The same for GGUF, where a layer's experts are one tensor (experts, rows, cols).
    let ggufNames: [ShardRole: String]

    static let all: [Architecture] = [.qwen2moe]

    static var supported: String { all.map { "\($0.huggingFaceType) (GGUF: \($0.name))" }.joined(separator: ", ") }

    static func unsupported(_ file: String, _ what: String) -> ImportError {
        ImportError(
            .unsupportedArchitecture,
            "\(file): the architecture is \(what.prefix(80)); supported: \(supported). Use a model of one of these")
    }

    static func fill(_ pattern: String, layer: Int, expert: Int) -> String {
        pattern.split(separator: "{", omittingEmptySubsequences: false).enumerated().map { index, piece in
            if index == 0 { return String(piece) }
            return "\(piece.first == "L" ? layer : expert)\(piece.dropFirst(2))"
        }.joined()
    }
}

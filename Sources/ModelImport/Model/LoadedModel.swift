// A model as both file formats deliver it: numbers, tokenizer, template, and tensors by name. From here on
// nobody asks which format it was, except for the names of tensors.
import Shard
import Tokenizer
import Wire

struct LoadedModel {
    enum Naming: String {
        case safetensors
        case gguf
    }

    /// A chat template, and where it stands for messages.
    struct ChatTemplate {
        let place: String
        let source: String
        private static let longest = 1 << 20

        init(place: String, source: String) { (self.place, self.source) = (place, source) }

        /// The template that is a file of its own; nil if there is none.
        init?(among files: [String: SourceFile]) throws(ImportError) {
            guard let file = files[DeployOptions.chatTemplateFile] else { return nil }
            guard let text = String(validating: try file.contents(most: Self.longest), as: UTF8.self) else {
                throw ImportError(.unsupportedTemplate, "\(file.name): it is not UTF-8; give another file")
            }
            self.init(place: file.name, source: text)
        }
    }

    let naming: Naming
    let architecture: Architecture
    /// The file that the numbers came from, for messages.
    let configFile: String
    /// Complete but for what the deployment's options decide: `context`, `kvType`, `functions`.
    let config: RouterConfig
    /// Whether q, k and v have biases.
    let hasAttentionBias: Bool
    /// Whether the output matrix is the token embedding.
    let tiesOutput: Bool
    let tokenizerFile: String
    let tokenizer: TokenizerDefinition
    let template: ChatTemplate?
    let tensors: TensorTable

    /// What its tensors are called.
    var names: TensorNames { naming == .gguf ? .gguf : architecture.huggingFaceNames }
}

/// A tensor that the architecture needs, with the shape that its numbers imply.
struct RequiredTensor {
    let role: ShardRole
    var layer = 0
    var expert = 0
    let rows: Int
    let cols: Int
}

extension LoadedModel {
    /// The router adds biases head by head, which is too late for a norm across heads; and a file that permutes the rows of q
    /// and k permutes their biases, too, which is not undone.
    var allowsAttentionBias: Bool {
        config.queryKeyNorm != .acrossHeads && !(naming == .gguf && architecture.ggufInterleavesPairs)
    }

    /// What goes into the router's shard.
    var routerTensors: [RequiredTensor] {
        let c = config
        var all = [
            RequiredTensor(role: .tokenEmbedding, rows: c.vocabulary, cols: c.hidden),
            RequiredTensor(role: .outputNorm, rows: 1, cols: c.hidden),
            RequiredTensor(role: .output, rows: c.vocabulary, cols: c.hidden),
        ]
        let (queries, keys) = (c.heads * c.headDim, c.kvHeads * c.headDim)
        for layer in 0..<c.layers {
            func add(_ role: ShardRole, _ rows: Int, _ cols: Int) {
                all.append(RequiredTensor(role: role, layer: layer, rows: rows, cols: cols))
            }
            add(.attentionNorm, 1, c.hidden)
            add(.q, queries, c.hidden)
            add(.k, keys, c.hidden)
            add(.v, keys, c.hidden)
            add(.o, c.hidden, queries)
            if hasAttentionBias {
                add(.qBias, 1, queries)
                add(.kBias, 1, keys)
                add(.vBias, 1, keys)
            }
            switch c.queryKeyNorm {
            case .none: break
            case .perHead:
                add(.qNorm, 1, c.headDim)
                add(.kNorm, 1, c.headDim)
            case .acrossHeads:
                add(.qNorm, 1, queries)
                add(.kNorm, 1, keys)
            }
            add(.ffnNorm, 1, c.hidden)
            if !c.isMoE[layer] {
                add(.denseGate, c.denseIntermediate, c.hidden)
                add(.denseUp, c.denseIntermediate, c.hidden)
                add(.denseDown, c.hidden, c.denseIntermediate)
                continue
            }
            add(.gate, c.expertCount, c.hidden)
            if c.sharedExpertIntermediate > 0 {
                add(.sharedExpertGate, 1, c.hidden)
                add(.sharedGate, c.sharedExpertIntermediate, c.hidden)
                add(.sharedUp, c.sharedExpertIntermediate, c.hidden)
                add(.sharedDown, c.hidden, c.sharedExpertIntermediate)
            }
        }
        return all
    }

    /// The three matrices of one expert.
    func expertTensors(layer: Int, expert: Int) -> [RequiredTensor] {
        let (width, hidden) = (config.moeIntermediate, config.hidden)
        return [
            RequiredTensor(role: .expertGate, layer: layer, expert: expert, rows: width, cols: hidden),
            RequiredTensor(role: .expertUp, layer: layer, expert: expert, rows: width, cols: hidden),
            RequiredTensor(role: .expertDown, layer: layer, expert: expert, rows: hidden, cols: width),
        ]
    }
}

// Shapes by name. The two Qwen ones are the published configurations; `tales` is the shape of the model that ships
// with Locum; `tiny` is for tests and `medium` for a disk that is not to be filled.

/// The presets of `locum-testmodel`, smallest first.
public enum Preset: String, Sendable, CaseIterable {
    case tiny
    case tales
    case medium
    case qwen15MoEA27B = "qwen1.5-moe-a2.7b"
    case qwen2A14B = "qwen2-57b-a14b"

    public var shape: ModelShape {
        switch self {
        case .tiny:
            ModelShape(
                name: rawValue, layers: 4, hidden: 256, heads: 4, kvHeads: 2, experts: 32, expertsPerToken: 2,
                expertWidth: 64, sharedWidth: 128, vocabulary: 1024, context: 2048, ropeBase: 10_000)
        case .tales:
            ModelShape(
                name: rawValue, layers: 6, hidden: 256, heads: 4, kvHeads: 2, experts: 32, expertsPerToken: 4,
                expertWidth: 96, sharedWidth: 256, vocabulary: 4096, context: 512, ropeBase: 10_000)
        case .medium:
            ModelShape(
                name: rawValue, layers: 12, hidden: 1024, heads: 16, kvHeads: 16, experts: 60, expertsPerToken: 4,
                expertWidth: 704, sharedWidth: 2816, vocabulary: 32_768, context: 8192, ropeBase: 1_000_000)
        case .qwen15MoEA27B:
            ModelShape(
                name: rawValue, layers: 24, hidden: 2048, heads: 16, kvHeads: 16, experts: 60, expertsPerToken: 4,
                expertWidth: 1408, sharedWidth: 5632, vocabulary: 151_936, context: 8192, ropeBase: 1_000_000)
        case .qwen2A14B:
            ModelShape(
                name: rawValue, layers: 28, hidden: 3584, heads: 28, kvHeads: 4, experts: 64, expertsPerToken: 8,
                expertWidth: 2560, sharedWidth: 20_480, vocabulary: 151_936, context: 131_072, ropeBase: 1_000_000)
        }
    }
}

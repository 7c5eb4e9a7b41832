// What a tensor in a shard is for. The numbers are part of the file format: they are never reused, and new
// roles take new ones. The role alone fixes how the content is laid out and whether the entry belongs to
// the model, to a layer or to one local expert.

/// The part that an entry of a shard plays in the model.
public enum ShardRole: UInt32, Sendable, CaseIterable {
    // Blobs of a router shard.
    case config = 1
    case tokenizer = 2
    case template = 3

    // Of the model.
    case tokenEmbedding = 16
    case outputNorm = 17
    case output = 18

    // Of a layer.
    case attentionNorm = 32
    case q = 33
    case k = 34
    case v = 35
    case o = 36
    case qBias = 37
    case kBias = 38
    case vBias = 39
    case ffnNorm = 40
    /// The router: W (experts, hidden) @ x (hidden,) -> logits (experts,). Always f32.
    case gate = 41
    /// w (hidden,) · x (hidden,) -> logit of the shared expert's weight. Always f32.
    case sharedExpertGate = 42
    case sharedGate = 43
    case sharedUp = 44
    case sharedDown = 45
    case denseGate = 46
    case denseUp = 47
    case denseDown = 48
    case qNorm = 49
    case kNorm = 50

    // Of one expert of an expert function.
    /// W (intermediate, hidden)
    case expertGate = 64
    /// W (intermediate, hidden)
    case expertUp = 65
    /// W (hidden, intermediate)
    case expertDown = 66

    /// How an entry's bytes are laid out.
    public enum Content: Sendable {
        /// Bytes that another module reads; format, rows and cols are 0.
        case blob
        /// One row of f32.
        case vector
        /// Rows one after another in their plain format, for look-ups by row.
        case rows
        /// Packed for matrix products, 16 rows interleaved (see CKernels.h).
        case matrix
    }

    /// What the fields `layer` and `expert` of an entry mean.
    public enum Scope: Sendable {
        /// Both 0.
        case model
        /// `layer` is the layer, `expert` 0.
        case layer
        /// `layer` 0, `expert` the local index 0…n-1, so that equal experts give equal files anywhere.
        case expert
    }

    public var content: Content {
        switch self {
        case .config, .tokenizer, .template: .blob
        case .tokenEmbedding: .rows
        case .outputNorm, .attentionNorm, .ffnNorm, .qBias, .kBias, .vBias, .qNorm, .kNorm, .sharedExpertGate: .vector
        default: .matrix
        }
    }

    public var scope: Scope {
        switch rawValue {
        case ..<32: .model
        case ..<64: .layer
        default: .expert
        }
    }
}

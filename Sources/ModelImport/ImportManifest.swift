// What a deployment made, for the registry. It travels as JSON from the import process, through node, to
// control; digests do not stand in it, because node computes its own and believes no one's.

/// A deployed model as the registry sees it.
public struct ImportManifest: Codable, Sendable, Equatable {
    /// One function of the model.
    public struct Function: Codable, Sendable, Equatable {
        /// Without the model's name: `router`, `L00-E003`, `L00-E004-007`, `L00-02-E000-015`.
        public var name: String
        /// `router` or `expert`.
        public var runtime: String
        /// Index of its shard, as given to the `ShardSink`.
        public var shard: Int
        /// Bytes of the shard.
        public var bytes: Int
        /// Experts in it, over all its layers; 0 for the router.
        public var experts: Int
    }

    /// Sampling defaults of the model's authors; what they leave out is absent.
    public struct Generation: Codable, Sendable, Equatable {
        public var doSample: Bool?
        public var temperature: Float?
        public var topP: Float?
        public var topK: Int?
        public var minP: Float?
        public var repetitionPenalty: Float?

        enum CodingKeys: String, CodingKey {
            case temperature
            case doSample = "do_sample"
            case topP = "top_p"
            case topK = "top_k"
            case minP = "min_p"
            case repetitionPenalty = "repetition_penalty"
        }
    }

    public var architecture: String
    /// Weights in the model, biases and norms included.
    public var parameters: Int
    /// `safetensors` or `gguf`.
    public var sourceFormat: String
    /// The format of at least three quarters of all matrix weights, else `mixed`.
    public var quantization: String
    public var context: Int
    /// `f32` or `f16`.
    public var kvType: String
    public var hidden: Int
    public var layers: Int
    /// Experts of one MoE layer.
    public var experts: Int
    public var expertsPerToken: Int
    public var vocabulary: Int
    public var hasChatTemplate: Bool
    public var eosTokens: [Int32]
    public var generation: Generation
    /// The router first, then the expert functions in the order of the router's function map.
    public var functions: [Function]
    /// Bytes of all shards.
    public var bytes: Int

    enum CodingKeys: String, CodingKey {
        case architecture, parameters, quantization, context, hidden, layers, experts, vocabulary, generation
        case functions, bytes
        case sourceFormat = "source_format"
        case kvType = "kv_type"
        case expertsPerToken = "experts_per_token"
        case hasChatTemplate = "has_chat_template"
        case eosTokens = "eos_tokens"
    }
}

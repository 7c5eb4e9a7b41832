// What an import says it made, as JSON from the sandboxed `locum-import` by way of node. It comes from a
// process that read a stranger's files, so `validate` checks whatever the registry will stand on; digests do
// not stand in it, because node computes its own.

/// The manifest of a deployment.
public struct ImportManifest: Codable, Sendable, Equatable {
    public struct Function: Codable, Sendable, Equatable {
        /// Without the model's name: `router`, `L00-E003`, `L00-02-E000-015`.
        public var name: String
        /// `router` or `expert`.
        public var runtime: String
        /// Index into the deployment's list of digests.
        public var shard: Int
        /// Bytes of the shard.
        public var bytes: Int
        /// Experts in it, over all its layers; 0 for the router.
        public var experts: Int

        public init(name: String, runtime: String, shard: Int, bytes: Int, experts: Int) {
            (self.name, self.runtime, self.shard, self.bytes, self.experts) = (name, runtime, shard, bytes, experts)
        }
    }

    /// Sampling defaults of the model's authors; what they leave out is absent.
    public struct Generation: Codable, Sendable, Equatable {
        public var doSample: Bool?
        public var temperature: Float?
        public var topP: Float?
        public var topK: Int?
        public var minP: Float?
        public var repetitionPenalty: Float?

        public init(
            doSample: Bool? = nil, temperature: Float? = nil, topP: Float? = nil, topK: Int? = nil, minP: Float? = nil,
            repetitionPenalty: Float? = nil
        ) {
            (self.doSample, self.temperature, self.topP, self.topK) = (doSample, temperature, topP, topK)
            (self.minP, self.repetitionPenalty) = (minP, repetitionPenalty)
        }

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
    /// Format of most matrix weights, else `mixed`.
    public var quantization: String
    /// Longest sequence in tokens.
    public var context: Int
    /// `f32` or `f16`.
    public var kvType: String
    public var hidden: Int
    public var layers: Int
    /// Experts of one MoE layer.
    public var experts: Int
    public var expertsPerToken: Int
    public var vocabulary: Int
    /// Keys and values of one position, over all layers, in bytes.
    public var sequenceBytesPerToken: Int
    /// What the router's process takes at most beside its shard and the sequences, in bytes.
    public var routerOverhead: Int
    public var hasChatTemplate: Bool
    /// Tokens that end an answer.
    public var eosTokens: [Int32]
    public var generation: Generation
    /// The router first, then the expert functions in the order in which the router numbers them.
    public var functions: [Function]
    /// Bytes of all shards.
    public var bytes: Int

    enum CodingKeys: String, CodingKey {
        case architecture, parameters, quantization, context, hidden, layers, experts, vocabulary, functions, bytes
        case sourceFormat = "source_format"
        case kvType = "kv_type"
        case expertsPerToken = "experts_per_token"
        case hasChatTemplate = "has_chat_template"
        case eosTokens = "eos_tokens"
        case sequenceBytesPerToken = "sequence_bytes_per_token"
        case routerOverhead = "router_overhead_bytes"
        case generation
    }

    public init(
        architecture: String, parameters: Int, sourceFormat: String, quantization: String, context: Int,
        kvType: String, hidden: Int, layers: Int, experts: Int, expertsPerToken: Int, vocabulary: Int,
        sequenceBytesPerToken: Int = 0, routerOverhead: Int = 0, hasChatTemplate: Bool, eosTokens: [Int32] = [],
        generation: Generation = Generation(),
        functions: [Function], bytes: Int
    ) {
        (self.architecture, self.parameters, self.sourceFormat) = (architecture, parameters, sourceFormat)
        (self.quantization, self.context, self.kvType) = (quantization, context, kvType)
        (self.hidden, self.layers, self.experts, self.expertsPerToken) = (hidden, layers, experts, expertsPerToken)
        (self.vocabulary, self.hasChatTemplate) = (vocabulary, hasChatTemplate)
        (self.sequenceBytesPerToken, self.routerOverhead) = (sequenceBytesPerToken, routerOverhead)
        (self.eosTokens, self.generation) = (eosTokens, generation)
        (self.functions, self.bytes) = (functions, bytes)
    }

    /// Most functions that a deployment may have.
    public static let mostFunctions = 65_536

    /// - Parameter shards: how many shards the deployment stored.
    /// - Throws: `ManifestError` naming the first thing that is wrong.
    public func validate(shards: Int) throws(ManifestError) {
        func require(_ holds: Bool, _ reason: @autoclosure () -> String) throws(ManifestError) {
            if !holds { throw ManifestError(reason: reason()) }
        }
        // Beyond every model, and so small that sums and products of them stay far from an overflow, which would end
        // control.
        for (name, value, range) in [
            ("parameters", parameters, 1...(1 << 50)), ("context", context, 1...(1 << 24)),
            ("hidden", hidden, 1...(1 << 16)), ("layers", layers, 1...1024), ("vocabulary", vocabulary, 1...(1 << 20)),
            ("bytes", bytes, 1...(1 << 58)), ("experts", experts, 0...4096),
            ("experts_per_token", expertsPerToken, 0...4096),
            ("sequence_bytes_per_token", sequenceBytesPerToken, 0...(1 << 30)),
            ("router_overhead_bytes", routerOverhead, 0...(1 << 42)),
            ("the number of end tokens", eosTokens.count, 0...64),
        ] {
            try require(
                range.contains(value), "\(name) is \(value), not within \(range.lowerBound) to \(range.upperBound)")
        }
        // They end up on terminals.
        for (name, value) in [
            ("architecture", architecture), ("source_format", sourceFormat), ("quantization", quantization),
            ("kv_type", kvType),
        ] {
            try require(Self.isWord(value), "\(name) is not a word of A-Z a-z 0-9 '_' and '-'")
        }
        try require(!functions.isEmpty, "it has no functions")
        try require(
            functions.count <= Self.mostFunctions, "\(functions.count) functions, more than \(Self.mostFunctions)")
        var names: Set<String> = []
        for (index, function) in functions.enumerated() {
            let isRouter = function.runtime == "router"
            try require(isRouter == (index == 0), "function \(index) has runtime \(function.runtime)")
            try require(isRouter || function.runtime == "expert", "function \(index) has runtime \(function.runtime)")
            try require(Self.isFunctionName(function.name), "function \(index) has a name outside A-Z a-z 0-9 and '-'")
            try require(names.insert(function.name).inserted, "two functions are named \(function.name)")
            try require(
                function.shard >= 0 && function.shard < shards,
                "\(function.name) has shard \(function.shard) of \(shards)")
            try require((1...(1 << 42)).contains(function.bytes), "\(function.name) has \(function.bytes) bytes")
            try require(
                isRouter ? function.experts == 0 : (1...(1 << 20)).contains(function.experts),
                "\(function.name) has \(function.experts) experts")
        }
    }

    private static func isFunctionName(_ name: String) -> Bool {
        name.utf8.count <= 40 && isWord(name) && !name.utf8.contains(UInt8(ascii: "_"))
    }

    private static func isWord(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (0x61...0x7A).contains($0) || (0x41...0x5A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D
                    || $0 == 0x5F
            }
    }
}

/// A manifest that the registry cannot take.
public struct ManifestError: Error, Sendable, Equatable, CustomStringConvertible {
    public let reason: String
    public init(reason: String) { self.reason = reason }
    public var description: String { "the import's manifest is not usable: \(reason)" }
}

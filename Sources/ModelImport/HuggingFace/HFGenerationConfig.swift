// generation_config.json: what the model's authors sample with, and which tokens end an answer.
import Shard

struct HFGenerationConfig {
    private(set) var defaults = GenerationDefaults()
    /// nil when the file does not say.
    private(set) var eosTokens: [Int]?

    private static let longest = 1 << 20

    /// A model without the file has no defaults of its own.
    init() {}

    init(_ source: SourceFile) throws(ImportError) {
        var (defaults, eosTokens): (GenerationDefaults, [Int]?) = (GenerationDefaults(), nil)
        var json = JSONReader(file: source.name, bytes: try source.contents(most: Self.longest))
        try json.document { json throws(ImportError) in
            try json.object { json, key throws(ImportError) in
                switch key {
                case "do_sample": defaults.doSample = try json.optionalBool()
                case "temperature": defaults.temperature = try json.optionalDouble().map { Float($0) }
                case "top_p": defaults.topP = try json.optionalDouble().map { Float($0) }
                case "min_p": defaults.minP = try json.optionalDouble().map { Float($0) }
                case "top_k": defaults.topK = try json.optionalInt()
                case "repetition_penalty":
                    defaults.repetitionPenalty = try json.optionalDouble().map { Float($0) }
                case "eos_token_id":
                    let ids = try json.ints(most: RouterConfig.Limits.endTokens)
                    eosTokens = ids.isEmpty ? nil : ids
                default: try json.skip()
                }
            }
        }
        do throws(ShardError) {
            try defaults.validate()
        } catch {
            throw ImportError(.badConfig, "\(source.name): \(error.message); correct the file or remove it")
        }
        (self.defaults, self.eosTokens) = (defaults, eosTokens)
    }
}

// All shards of a deployment before the first byte is written: what goes where, how long each file gets.
// Whatever can be wrong with shapes, names or options is found here, so that a deployment that fails on
// them fails at once.
import FunctionModel
import Kernels
import Shard

/// One shard to be written.
struct PlannedShard {
    enum Piece {
        case blob([UInt8])
        case tensor(TensorSlice)
    }

    let function: ImportManifest.Function
    let plan: ShardPlan
    /// In the order of `plan.entries`.
    let pieces: [Piece]
}

struct ImportPlan {
    let model: LoadedModel
    /// The model's numbers, complete.
    let config: RouterConfig
    /// The router's first, then the expert functions'.
    let shards: [PlannedShard]
    /// Weights by format, matrices only.
    private(set) var weights: [WeightFormat: Int] = [:]
    /// All weights of the model.
    private(set) var parameters = 0

    var bytes: Int { shards.reduce(0) { $0 + $1.plan.length } }

    init(_ model: LoadedModel, _ options: ImportOptions) throws(ImportError) {
        self.model = model
        try options.validate()
        // Before lists as long are made of a few digits in a file.
        let experts = model.config.isMoE.count { $0 } * model.config.expertCount
        guard experts <= FunctionMap.mostExperts else {
            throw ImportError(
                .badConfig,
                "\(model.configFile): \(experts) experts over all layers, more than \(FunctionMap.mostExperts); the file "
                    + "is damaged or of another kind of model")
        }
        guard !model.hasAttentionBias || model.allowsAttentionBias else {
            throw ImportError(
                .unsupportedArchitecture,
                "\(model.configFile): biases of queries and keys are not supported for \(model.architecture.name); use "
                    + "another model")
        }
        let groups = ExpertGroup.groups(
            isMoE: model.config.isMoE, experts: model.config.expertCount,
            layersPerFunction: options.layersPerFunction, expertsPerFunction: options.expertsPerFunction)
        guard groups.count < ImportManifest.mostFunctions else {
            throw ImportError(
                .badOptions,
                "\(model.configFile): \(groups.count) functions of experts, more than \(ImportManifest.mostFunctions - 1); put more experts into "
                    + "each with --experts-per-function or --layers-per-function")
        }
        config = try options.complete(model, groups)
        var locator = TensorLocator(model)
        var builder = Builder(quantize: options.quantize)
        try builder.router(model, config, &locator)
        for group in groups { try builder.expert(model, group, &locator) }
        try locator.refuseLeftovers()
        shards = builder.shards
        (weights, parameters) = (builder.weights, builder.parameters)
    }

    /// The format of three quarters of all matrix weights, in capitals, or `mixed`.
    var dominantFormat: String {
        let total = weights.values.reduce(0, +)
        guard let top = weights.max(by: { $0.value < $1.value }), top.value * 4 >= total * 3 else { return "mixed" }
        return top.key.name.uppercased()
    }

    var manifest: ImportManifest {
        let g = config.generation
        return ImportManifest(
            architecture: config.architecture, parameters: parameters, sourceFormat: model.naming.rawValue,
            quantization: dominantFormat, context: config.context, kvType: "\(config.kvType)", hidden: config.hidden,
            layers: config.layers, experts: config.expertCount, expertsPerToken: config.expertsPerToken,
            vocabulary: config.vocabulary, sequenceBytesPerToken: config.sequenceBytesPerToken,
            routerOverhead: config.routerOverhead, hasChatTemplate: model.template != nil, eosTokens: config.eosTokens,
            generation: ImportManifest.Generation(
                doSample: g.doSample, temperature: g.temperature, topP: g.topP, topK: g.topK, minP: g.minP,
                repetitionPenalty: g.repetitionPenalty),
            functions: shards.map(\.function), bytes: bytes)
    }
}

// What the options make of a model's numbers.
import Kernels
import Shard

extension ImportOptions {
    func validate() throws(ImportError) {
        guard expertsPerFunction >= 0, layersPerFunction >= 0 else {
            throw ImportError(
                .badOptions,
                "\(expertsPerFunction) experts and \(layersPerFunction) layers per function; "
                    + "give numbers from 1, or all")
        }
    }

    /// The router's configuration: the model's numbers with what the deployment decides.
    func complete(_ model: LoadedModel, _ groups: [ExpertGroup]) throws(ImportError) -> RouterConfig {
        var config = model.config
        guard context >= 0, context <= model.config.context else {
            throw ImportError(
                .badOptions,
                "--context \(context): \(model.configFile) says that the model was made for "
                    + "\(model.config.context) tokens at most; choose 1 to \(model.config.context)")
        }
        if context > 0 { config.context = context }
        guard let format = KVFormat(name: kvType) else {
            throw ImportError(.badOptions, "--kv-type \(kvType.prefix(40)): it is f16, q8_0 or f32")
        }
        guard format.valueBytes(headDim: config.headDim, capacity: 64) != nil else {
            throw ImportError(
                .badOptions,
                "--kv-type \(kvType): \(model.configFile) has heads of \(config.headDim), which is no multiple of 32; "
                    + "choose f16")
        }
        config.kvType = format
        config.functions = ExpertGroup.map(groups, isMoE: config.isMoE, experts: config.expertCount)
        do throws(ShardError) {
            try config.validate()
        } catch {
            throw ImportError(
                .badConfig, "\(model.configFile): \(error.message); the file is damaged or of another kind of model")
        }
        return config
    }
}

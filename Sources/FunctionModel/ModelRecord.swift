// What the registry keeps: models and their functions. Records are values; the store writes them, the control
// plane reads them. A node's id is in each from the start.

/// How a model was deployed; part of what decides whether a deployment changes anything.
public struct DeployRecord: Codable, Sendable, Equatable {
    /// Experts of one layer in a function; 0: all.
    public var expertsPerFunction: Int
    /// Layers in a function; 0: all.
    public var layersPerFunction: Int
    /// Format that weights were converted to; empty: kept.
    public var quantize: String
    /// Longest sequence asked for; 0: the model's own.
    public var context: Int
    public var kvType: String

    enum CodingKeys: String, CodingKey {
        case quantize, context
        case expertsPerFunction = "experts_per_function"
        case layersPerFunction = "layers_per_function"
        case kvType = "kv_type"
    }

    public init(expertsPerFunction: Int, layersPerFunction: Int, quantize: String, context: Int, kvType: String) {
        (self.expertsPerFunction, self.layersPerFunction) = (expertsPerFunction, layersPerFunction)
        (self.quantize, self.context, self.kvType) = (quantize, context, kvType)
    }
}

/// The runtimes of functions.
public enum Runtime: String, Codable, Sendable {
    case router, expert
}

/// A function of a model.
public struct FunctionRecord: Sendable, Equatable {
    /// Unique for the life of the registry; a function keeps it over revisions that do not change it.
    public var id: UInt64
    public var model: String
    /// Place in the model: 0 is the router, an expert function's index in the router's map is one less.
    public var index: Int
    /// Full name, `model/L00-E003`.
    public var name: String
    public var runtime: Runtime
    /// SHA-256 of its shard, 32 bytes.
    public var digest: [UInt8]
    public var bytes: Int
    public var experts: Int
    /// The node that has its shard.
    public var node: String

    public init(
        id: UInt64, model: String, index: Int, name: String, runtime: Runtime, digest: [UInt8], bytes: Int,
        experts: Int, node: String
    ) {
        (self.id, self.model, self.index, self.name, self.runtime) = (id, model, index, name, runtime)
        (self.digest, self.bytes, self.experts, self.node) = (digest, bytes, experts, node)
    }
}

/// A deployed model.
public struct ModelRecord: Sendable, Equatable {
    public var name: String
    /// 1 at the first deployment, one more at each that changed something.
    public var revision: Int
    public var manifest: ImportManifest
    public var options: DeployRecord
    /// Seconds since 1970.
    public var deployedAt: Int64
    public var node: String
    /// In order of index; the router is first.
    public var functions: [FunctionRecord]

    public init(
        name: String, revision: Int, manifest: ImportManifest, options: DeployRecord, deployedAt: Int64, node: String,
        functions: [FunctionRecord]
    ) {
        (self.name, self.revision, self.manifest, self.options) = (name, revision, manifest, options)
        (self.deployedAt, self.node, self.functions) = (deployedAt, node, functions)
    }
}

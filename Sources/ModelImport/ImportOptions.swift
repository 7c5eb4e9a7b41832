// How a model is to be cut into functions and what its numbers become.
public import Kernels

/// What a person may choose about a deployment.
public struct ImportOptions: Sendable {
    /// The name under which it is deployed; of a backup's models it chooses one.
    public var name: String
    /// Experts of one layer in a function; 0 means all of a layer.
    public var expertsPerFunction: Int
    /// Layers in a function; 0 means all.
    public var layersPerFunction: Int
    /// What matrices are converted to; nil keeps each as it is. Norms, biases and gates are always f32.
    public var quantize: WeightFormat?
    /// Longest sequence in tokens; 0 means the model's own.
    public var context: Int
    /// `f32` or `f16`.
    public var kvType: String
    /// Produce every shard into its digest first and write only those that the sink lacks.
    public var probe: Bool

    public init(
        name: String = "", expertsPerFunction: Int = 1, layersPerFunction: Int = 1, quantize: WeightFormat? = nil,
        context: Int = 0, kvType: String = "f16", probe: Bool = false
    ) {
        self.name = name
        self.expertsPerFunction = expertsPerFunction
        self.layersPerFunction = layersPerFunction
        self.quantize = quantize
        self.context = context
        self.kvType = kvType
        self.probe = probe
    }
}

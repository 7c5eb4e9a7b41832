// The options as the CLI sent them. Node only carries them, so they are checked here.
import Kernels
public import Wire

extension ImportOptions {
    /// - Throws: `ImportError(.badOptions)` when no such format exists.
    public init(_ options: DeployOptions) throws(ImportError) {
        var quantize: WeightFormat?
        if !options.quantize.isEmpty {
            guard let format = WeightFormat(name: options.quantize) else {
                let names = WeightFormat.allCases.map(\.name).joined(separator: ", ")
                throw ImportError(.badOptions, "--quantize \(options.quantize.prefix(40)): choose one of \(names)")
            }
            quantize = format
        }
        self.init(
            name: options.name, expertsPerFunction: Int(options.expertsPerFunction),
            layersPerFunction: Int(options.layersPerFunction), quantize: quantize, context: Int(options.context),
            kvType: options.kvType, probe: options.probe)
    }
}

// Finds the bytes of each tensor that the architecture needs, and makes sure that the files hold nothing
// else: a tensor left over means a model that computes something which the router would not.
import Kernels
import Shard

/// The rows of one matrix or vector in a source file: (rows, cols), one row after another.
struct TensorSlice {
    let file: SourceFile
    let name: String
    let format: WeightFormat
    let rows: Int
    let cols: Int
    /// Bytes from the start of the file to row 0.
    let offset: Int
    let rowBytes: Int
}

struct TensorLocator {
    private let model: LoadedModel
    private var used: Set<String> = []

    init(_ model: LoadedModel) { self.model = model }

    mutating func find(_ required: RequiredTensor) throws(ImportError) -> TensorSlice {
        let role = required.role == .output && model.tiesOutput ? .tokenEmbedding : required.role
        let patterns =
            model.naming == .gguf ? model.architecture.ggufNames : model.architecture.huggingFaceNames
        guard let pattern = patterns[role] else {
            throw ImportError(.missingTensor, "\(model.architecture.name) has no name for \(role)")
        }
        let name = Architecture.fill(pattern, layer: required.layer, expert: required.expert)
        guard let tensor = model.tensors[name] else {
            throw ImportError(
                .missingTensor,
                "\(model.configFile): the model needs a tensor \(name), which is in no file; "
                    + "download all files of the model again")
        }
        used.insert(name)
        let stacked = model.naming == .gguf && role.scope == .expert
        var expected = [required.rows, required.cols]
        if stacked { expected.insert(model.config.expertCount, at: 0) }
        var shape = tensor.shape
        // A vector may be written with or without its one row.
        if required.rows == 1, role.content == .vector, shape.count == 1 { shape.insert(1, at: 0) }
        guard shape == expected, let rowBytes = tensor.format.rowBytes(columns: required.cols) else {
            throw ImportError(
                .badShape,
                "\(tensor.file.name): tensor \(name) is \(tensor.shapeText), \(model.configFile) implies "
                    + "\(expected); the files do not belong together, download them again")
        }
        return TensorSlice(
            file: tensor.file, name: name, format: tensor.format, rows: required.rows, cols: required.cols,
            offset: tensor.offset + (stacked ? required.expert * required.rows * rowBytes : 0), rowBytes: rowBytes)
    }

    /// - Throws: `ImportError(.unexpectedTensor)` when a file holds a tensor that was never asked for.
    func refuseLeftovers() throws(ImportError) {
        func harmless(_ name: String) -> Bool {
            // Tables that older checkpoints carry along, and an output matrix that is declared to be tied.
            name.hasSuffix(".rotary_emb.inv_freq")
                || model.tiesOutput && name == model.architecture.huggingFaceNames[.output]
        }
        let left = model.tensors.tensors.values.filter { !used.contains($0.name) && !harmless($0.name) }
        if let tensor = left.min(by: { $0.name < $1.name }) {
            throw ImportError(
                .unexpectedTensor,
                "\(tensor.file.name): tensor \(tensor.name) is no part of a "
                    + "\(model.architecture.name) model of this configuration; the model is of another kind or "
                    + "the files do not belong together")
        }
    }
}

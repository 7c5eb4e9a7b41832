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
    /// Rows of a head whose rotary pairs stand next to each other in the file; nil: the rows stand as routers read them.
    let interleavedHead: Int?

    /// Where the file has the row that routers read as number `row`.
    func place(of row: Int) -> Int {
        guard let head = interleavedHead else { return row }
        let within = row % head
        return row - within + 2 * (within % (head / 2)) + within / (head / 2)
    }
}

struct TensorLocator {
    private let model: LoadedModel
    private var used: Set<String> = []

    init(_ model: LoadedModel) { self.model = model }

    mutating func find(_ required: RequiredTensor) throws(ImportError) -> TensorSlice {
        let role = required.role == .output && model.tiesOutput ? .tokenEmbedding : required.role
        let (found, tensor) = try locate(role, required)
        used.insert(tensor.name)
        let stacked = role.scope == .expert && !found.namesExpert
        let rows = found.part == .all ? required.rows : 2 * required.rows
        var expected = [rows, required.cols]
        if stacked { expected.insert(model.config.expertCount, at: 0) }
        var shape = tensor.shape
        // A vector may be written with or without its one row.
        if required.rows == 1, role.content == .vector, shape.count == 1 { shape.insert(1, at: 0) }
        guard shape == expected, let rowBytes = tensor.format.rowBytes(columns: required.cols) else {
            throw ImportError(
                .badShape,
                "\(tensor.file.name): tensor \(tensor.name) is \(tensor.shapeText), \(model.configFile) implies "
                    + "\(expected); the files do not belong together, download them again")
        }
        let first = (stacked ? required.expert * rows : 0) + (found.part == .secondHalf ? required.rows : 0)
        let interleaved = model.naming == .gguf && model.architecture.ggufInterleavesPairs && (role == .q || role == .k)
        return TensorSlice(
            file: tensor.file, name: tensor.name, format: tensor.format, rows: required.rows, cols: required.cols,
            offset: tensor.offset + first * rowBytes, rowBytes: rowBytes,
            interleavedHead: interleaved ? model.config.headDim : nil)
    }

    /// The tensor by the first of its names that the files have.
    private func locate(
        _ role: ShardRole, _ required: RequiredTensor
    ) throws(ImportError) -> (TensorName, SourceTensor) {
        let names = model.names[role]
        for name in names {
            if let tensor = model.tensors[name.filled(layer: required.layer, expert: required.expert)] {
                return (name, tensor)
            }
        }
        guard let name = names.first else {
            throw ImportError(.missingTensor, "\(model.architecture.name) has no name for \(role)")
        }
        throw ImportError(
            .missingTensor,
            "\(model.configFile): the model needs a tensor "
                + "\(name.filled(layer: required.layer, expert: required.expert)), which is in no file; "
                + "download all files of the model again")
    }

    /// - Throws: `ImportError(.unexpectedTensor)` when a file holds a tensor that was never asked for.
    func refuseLeftovers() throws(ImportError) {
        func harmless(_ name: String) -> Bool {
            // Tables that older checkpoints carry along, and an output matrix that is declared to be tied.
            name.hasSuffix(".rotary_emb.inv_freq")
                || model.tiesOutput && model.names[.output].contains { $0.pattern == name }
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

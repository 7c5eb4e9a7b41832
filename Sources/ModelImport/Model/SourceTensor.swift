// Tensors as the source file has them, by name, before anyone knows what they mean. Both file formats end
// here with the same guarantees: sizes that follow from shape and format without overflow, places within
// the file, no two tensors of one name and no two on the same bytes.
import Kernels

/// A tensor in a source file.
struct SourceTensor {
    let file: SourceFile
    let name: String
    let format: WeightFormat
    /// Outermost dimension first; the last one is a row's.
    let shape: [Int]
    /// Bytes from the start of the file.
    let offset: Int
    let length: Int

    var shapeText: String { "[" + shape.map(String.init).joined(separator: ", ") + "]" }

    /// Bytes of a tensor, nil when the shape cannot be: over four dimensions, beyond any file, or rows that
    /// are not whole blocks.
    static func byteLength(shape: [Int], format: WeightFormat) -> Int? {
        guard shape.count <= 4, shape.allSatisfy({ (1...(1 << 40)).contains($0) }) else { return nil }
        let cols = shape.last ?? 1
        guard cols <= 1 << 31, cols % format.blockSize == 0, var bytes = format.rowBytes(columns: cols) else {
            return nil
        }
        for size in shape.dropLast() {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: size)
            guard !overflow, product <= 1 << 46 else { return nil }
            bytes = product
        }
        return bytes
    }
}

/// All tensors of a model's files.
struct TensorTable {
    /// Tensors over all files; a table of them takes some 60 MB.
    static let most = 262_144
    private(set) var tensors: [String: SourceTensor] = [:]

    subscript(name: String) -> SourceTensor? { tensors[name] }

    mutating func add(_ tensor: SourceTensor) throws(ImportError) {
        guard tensors.count < Self.most else {
            throw ImportError(.tooLarge, "\(tensor.file.name): more than \(Self.most) tensors")
        }
        if let other = tensors.updateValue(tensor, forKey: tensor.name) {
            let where_ = other.file === tensor.file ? "twice" : "in \(other.file.name) as well"
            throw ImportError(
                .duplicateTensor,
                "\(tensor.file.name): tensor \(tensor.name) stands \(where_); "
                    + "the file is damaged or was put together wrongly, download it again")
        }
    }

    /// - Throws: `ImportError(code)` when two tensors share bytes of one file.
    func refuseOverlaps(_ code: ImportError.Code) throws(ImportError) {
        let sorted = tensors.values.sorted { ($0.file.name, $0.offset) < ($1.file.name, $1.offset) }
        for (a, b) in zip(sorted, sorted.dropFirst()) where a.file === b.file && b.offset < a.offset + a.length {
            throw ImportError(
                code,
                "\(a.file.name): tensors \(a.name) and \(b.name) overlap at byte \(b.offset); "
                    + "the file is damaged, download it again")
        }
    }
}

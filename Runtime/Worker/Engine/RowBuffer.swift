// Rows of activations with tables of their addresses, as the matrix kernels want them. Beside the floats lie
// the rows made ready for quantised weights, in each format that some matrix reading this buffer has.
import Kernels
import Syscall

/// (capacity, columns) floats in memory that is charged when touched.
final class RowBuffer {
    let columns: Int
    /// Floats between rows: whole cache lines.
    let stride: Int
    let base: UnsafeMutablePointer<Float>
    private let capacity: Int
    private let memory: Mapping
    private let addresses: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    private let plain: UnsafeMutablePointer<UnsafeRawPointer?>
    private let prepared: [Prepared]

    private struct Prepared {
        let format: WeightFormat
        let memory: Mapping
        let stride: Int
        let addresses: UnsafeMutablePointer<UnsafeRawPointer?>
    }

    /// - Parameter readers: formats of the matrices that are multiplied with these rows.
    init(rows capacity: Int, columns: Int, readers: [WeightFormat] = []) throws(SyscallError) {
        (self.capacity, self.columns) = (capacity, columns)
        stride = (columns + 15) / 16 * 16
        memory = try Mapping(anonymous: capacity * stride * 4)
        base = memory.base.assumingMemoryBound(to: Float.self)
        var prepared: [Prepared] = []
        for format in readers where format.isQuantized && !prepared.contains(where: { $0.format == format }) {
            // A matrix with fewer columns may have whole blocks where the widest one has not.
            let block = format.blockSize
            guard let bytes = format.preparedBytes(columns: (columns + block - 1) / block * block) else { continue }
            let stride = (bytes + 63) / 64 * 64
            let memory = try Mapping(anonymous: capacity * stride)
            let addresses = UnsafeMutablePointer<UnsafeRawPointer?>.allocate(capacity: capacity)
            for row in 0..<capacity { (addresses + row).initialize(to: memory.base + row * stride) }
            prepared.append(Prepared(format: format, memory: memory, stride: stride, addresses: addresses))
        }
        self.prepared = prepared
        addresses = .allocate(capacity: capacity)
        plain = .allocate(capacity: capacity)
        for row in 0..<capacity {
            (addresses + row).initialize(to: base + row * stride)
            (plain + row).initialize(to: UnsafeRawPointer(base + row * stride))
        }
    }

    deinit {
        addresses.deallocate()
        plain.deallocate()
        for form in prepared { form.addresses.deallocate() }
    }

    func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }

    /// Where products are written.
    var outputs: UnsafePointer<UnsafeMutablePointer<Float>?> { UnsafePointer(addresses) }

    /// Where a matrix of `format` reads; quantised ones after `prepare(row:)`.
    func inputs(_ format: WeightFormat) -> UnsafePointer<UnsafeRawPointer?> {
        for form in prepared where form.format == format { return UnsafePointer(form.addresses) }
        return UnsafePointer(plain)
    }

    /// Makes a row that was just written ready for all its readers, which read all columns.
    func prepare(row index: Int) {
        for form in prepared {
            form.format.prepare(row(index), columns: columns, into: form.memory.base + index * form.stride)
        }
    }

    /// Makes a row ready for one matrix, which may have fewer columns than this buffer.
    func prepare(row index: Int, for matrix: PackedMatrix) {
        for form in prepared where form.format == matrix.format {
            form.format.prepare(row(index), columns: matrix.columns, into: form.memory.base + index * form.stride)
        }
    }

    /// Gives back all pages but those of the first `rows` rows.
    func trim(rows: Int) {
        memory.discard(from: rows * stride * 4)
        for form in prepared { form.memory.discard(from: rows * form.stride) }
    }
}

// Rows of activations with tables of their addresses, as the matrix kernels want them. Beside the floats lie
// the rows made ready for quantised weights, which is the same for all of their formats.
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
    /// nil when no reader is quantised.
    private let prepared: Prepared?

    private struct Prepared {
        /// Any of the readers'.
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
        let quantised = readers.filter(\.isQuantized).max { $0.blockSize < $1.blockSize }
        // A matrix with fewer columns may have whole blocks where the widest one has not.
        let block = quantised?.blockSize ?? 1
        if let quantised, let bytes = quantised.preparedBytes(columns: (columns + block - 1) / block * block) {
            let stride = (bytes + 63) / 64 * 64
            let memory = try Mapping(anonymous: capacity * stride)
            let addresses = UnsafeMutablePointer<UnsafeRawPointer?>.allocate(capacity: capacity)
            for row in 0..<capacity { (addresses + row).initialize(to: memory.base + row * stride) }
            prepared = Prepared(format: quantised, memory: memory, stride: stride, addresses: addresses)
        } else {
            prepared = nil
        }
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
        prepared?.addresses.deallocate()
    }

    func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }

    /// Where products are written.
    var outputs: UnsafePointer<UnsafeMutablePointer<Float>?> { UnsafePointer(addresses) }

    /// Where a matrix of `format` reads; quantised ones after `prepare(row:)`.
    func inputs(_ format: WeightFormat) -> UnsafePointer<UnsafeRawPointer?> {
        guard format.isQuantized, let prepared else { return UnsafePointer(plain) }
        return UnsafePointer(prepared.addresses)
    }

    /// Columns that are made ready together: what is made ready of them depends on no others.
    static let block = WeightFormat.q8_0.blockSize
    private static let blockBytes = WeightFormat.q8_0.preparedBytes(columns: block) ?? 0

    /// Makes a row that was just written ready for all its readers, which read all columns.
    func prepare(row index: Int) { prepare(row: index, columns: 0..<columns) }

    /// Makes a part of a row, whole blocks, ready for all its readers.
    func prepare(row index: Int, columns: Range<Int>) {
        guard let prepared else { return }
        let place = index * prepared.stride + columns.lowerBound / Self.block * Self.blockBytes
        prepared.format.prepare(
            row(index) + columns.lowerBound, columns: columns.count, into: prepared.memory.base + place)
    }

    /// Gives back all pages but those of the first `rows` rows.
    func trim(rows: Int) {
        memory.discard(from: rows * stride * 4)
        prepared?.memory.discard(from: rows * (prepared?.stride ?? 0))
    }
}

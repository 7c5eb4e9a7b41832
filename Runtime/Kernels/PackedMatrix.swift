// A weight matrix in place: a view of bytes in a mapped shard. Work is handed out in tiles of 16 rows, and a
// row's result is the same however rows are split and however many activations are computed together.
import CKernels

/// W (rows, columns) as packed tiles. The bytes belong to whoever mapped them and are 32-byte aligned.
public struct PackedMatrix: @unchecked Sendable {
    /// Rows that a split must respect.
    public static let tileRows = 16

    public let format: WeightFormat
    public let rows: Int
    public let columns: Int
    public let base: UnsafeRawPointer

    /// nil if the shape does not fit the format, `base` is misaligned, or `byteCount` is less than the matrix.
    public init?(format: WeightFormat, rows: Int, columns: Int, base: UnsafeRawPointer, byteCount: Int) {
        guard let needed = format.packedBytes(rows: rows, columns: columns), needed <= byteCount,
            UInt(bitPattern: base) % 32 == 0
        else { return nil }
        (self.format, self.rows, self.columns, self.base) = (format, rows, columns, base)
    }

    /// The rows that part `index` of `count` computes; the parts cover all rows without overlap.
    /// - Parameter multiple: each part but the last is a multiple of so many rows, which is one of `tileRows`.
    public func share(_ index: Int, of count: Int, multiple: Int = tileRows) -> Range<Int> {
        let pieces = (rows + multiple - 1) / multiple
        let start = min(rows, pieces * index / count * multiple)
        return start..<min(rows, pieces * (index + 1) / count * multiple)
    }

    /// outputs[i][r] = W[r] . inputs[i] for each r in `range` and i in 0..<count.
    ///
    /// `range` starts at a multiple of 16 and ends at one or at `rows`; inputs are rows of `columns` made ready
    /// by `format.prepare`, or plain rows for float formats; outputs[i] points at the place of row 0.
    public func multiply(
        rows range: Range<Int>, inputs: UnsafePointer<UnsafeRawPointer?>,
        outputs: UnsafePointer<UnsafeMutablePointer<Float>?>, count: Int
    ) {
        precondition(range.lowerBound % Self.tileRows == 0 && range.lowerBound >= 0 && range.upperBound <= rows)
        precondition(range.upperBound % Self.tileRows == 0 || range.upperBound == rows)
        lk_matmul(
            format.c, base, rows, columns, range.lowerBound, range.upperBound, inputs, Int32(count), outputs)
    }

    /// output (rows,) = W @ input, all rows of one activation.
    public func multiply(input: UnsafeRawPointer, output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: UnsafeRawPointer?.some(input)) { inputs in
            withUnsafePointer(to: UnsafeMutablePointer<Float>?.some(output)) { outputs in
                multiply(rows: 0..<rows, inputs: inputs, outputs: outputs, count: 1)
            }
        }
    }
}

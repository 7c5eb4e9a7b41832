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
    /// Some 64 KiB of weights, so that a core reads on for a while and none waits long for another; less of a small matrix,
    /// so that several cores have something of it.
    private let pieceRows: Int

    /// nil if the shape does not fit the format, `base` is misaligned, or `byteCount` is less than the matrix.
    public init?(format: WeightFormat, rows: Int, columns: Int, base: UnsafeRawPointer, byteCount: Int) {
        guard let needed = format.packedBytes(rows: rows, columns: columns), needed <= byteCount,
            UInt(bitPattern: base) % 32 == 0
        else { return nil }
        (self.format, self.rows, self.columns, self.base) = (format, rows, columns, base)
        let rowBytes = max(1, needed / rows)
        pieceRows = (max(1, min((64 << 10) / rowBytes, rows / 8)) + 31) / 32 * 32
    }

    /// How many pieces there are for threads to take, at most 2^32 - 1.
    public var pieces: Int { (rows + pieceRows - 1) / pieceRows }

    /// The rows of a piece: all but the last have equally many, a multiple of 32.
    public func piece(_ index: Int) -> Range<Int> { index * pieceRows..<min(rows, (index + 1) * pieceRows) }

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

// A matrix for look-ups by row, as the token embedding is: only the rows of a prompt's tokens are ever
// read, so they lie one after another instead of interleaved.
public import Kernels

/// A matrix (rows, cols) whose rows lie one after another in `format`'s plain (GGUF) layout.
@safe public struct PlainRows: @unchecked Sendable {
    public let format: WeightFormat
    public let rows: Int
    public let cols: Int
    /// Bytes from one row to the next.
    public let stride: Int
    private let base: UnsafeRawPointer

    init(_ entry: ShardEntry, base: UnsafeRawPointer) {
        (format, rows, cols) = (entry.format, entry.rows, entry.cols)
        stride = entry.length / entry.rows
        unsafe self.base = base
    }

    /// Row `index`, nil beyond the last.
    public func row(_ index: Int) -> UnsafeRawPointer? {
        (0..<rows).contains(index) ? unsafe base + index * stride : nil
    }
}

// The formats weights are stored in, and the sizes that follow. Shapes may come from a stranger's file: a size
// that overflows or does not fit the format is nil, never a trap.
import CKernels

/// A weight's format; the raw value is what a shard stores.
public enum WeightFormat: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    case bf16 = 2
    case q8_0 = 3
    case q4_0 = 4
    case q4_1 = 5
    case q5_0 = 6
    case q5_1 = 7
    case q4_k = 8
    case q5_k = 9
    case q6_k = 10

    var c: lk_format { lk_format(rawValue: rawValue) }

    /// "f32", "q8_0", "q4_k": as GGUF has it, in small letters.
    public var name: String { "\(self)" }

    /// The format of that name, whatever its case.
    public init?(name: String) {
        guard let format = Self.allCases.first(where: { $0.name == name.lowercased() }) else { return nil }
        self = format
    }

    /// Columns of a block, 1, 32 or 256; rows are a whole number of them.
    public var blockSize: Int { lk_block_columns(c) }

    /// Whether activations are rounded to 8 bits to meet it.
    public var isQuantized: Bool { blockSize > 1 }

    /// Bytes of a plain row, as in a GGUF file; nil if `columns` is no positive multiple of the block.
    public func rowBytes(columns: Int) -> Int? { size(columns) { lk_row_bytes(c, columns) } }

    /// Bytes of a packed tile of 16 rows, a multiple of 64.
    public func tileBytes(columns: Int) -> Int? { size(columns) { lk_tile_bytes(c, columns) } }

    /// Bytes of a packed matrix, its last tile padded.
    public func packedBytes(rows: Int, columns: Int) -> Int? {
        rows < 0 ? nil : size(columns) { lk_packed_bytes(c, rows, columns) }
    }

    /// Bytes of an activation row made ready by `prepare`.
    public func preparedBytes(columns: Int) -> Int? { size(columns) { lk_prepared_bytes(c, columns) } }

    /// Makes x (columns,) ready for a product with weights of this format. Float formats take x as it is, so
    /// for them this is a copy that can be saved.
    public func prepare(_ x: UnsafePointer<Float>, columns: Int, into out: UnsafeMutableRawPointer) {
        lk_prepare(c, x, columns, out)
    }

    private func size(_ columns: Int, _ compute: () -> Int) -> Int? {
        guard columns > 0 else { return nil }
        let bytes = compute()
        return bytes > 0 ? bytes : nil
    }
}

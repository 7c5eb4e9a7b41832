// Conversion and packing, for the importer (rows of a stranger's file to tiles) and for the embedding table
// (a plain row to f32). Source rows may lie at any address.
import CKernels

/// Why weights could not be converted.
public struct KernelsError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Stable: "kernels.shape", "kernels.not_finite" or "kernels.format".
    public let code: String
    public let message: String
    public var description: String { message }

    init(_ result: Int32, _ source: WeightFormat, _ target: WeightFormat, columns: Int) {
        switch Int(result) {
        case LK_SHAPE:
            code = "kernels.shape"
            message =
                "\(columns) columns do not divide into blocks (\(source.name): \(source.blockSize), "
                + "\(target.name): \(target.blockSize)): choose a format without blocks, such as f16"
        case LK_NOT_FINITE:
            code = "kernels.not_finite"
            message =
                "converting \(source.name) to \(target.name) gives an infinity or NaN: a weight is not finite, "
                + "or too large for \(target.name)"
        default:
            code = "kernels.format"
            message = "no conversion from \(source.name) to \(target.name)"
        }
    }
}

extension WeightFormat {
    /// Widens a plain row of this format to f32 (columns,).
    public func widen(
        row: UnsafeRawPointer, columns: Int, into out: UnsafeMutablePointer<Float>
    ) throws(KernelsError) {
        let result = lk_widen_row(c, row, columns, out)
        guard result == 0 else { throw KernelsError(result, self, .f32, columns: columns) }
    }

    /// Whether a plain row is free of infinities and NaN, values and scales.
    public func isFinite(row: UnsafeRawPointer, columns: Int) -> Bool { lk_check_row(c, row, columns) == 0 }

    /// Converts a plain row to a plain row; `scratch` holds `columns` floats. Equal formats copy the bits.
    public func convert(
        row: UnsafeRawPointer, columns: Int, to target: WeightFormat, into out: UnsafeMutableRawPointer,
        scratch: UnsafeMutablePointer<Float>
    ) throws(KernelsError) {
        let result = lk_convert_row(c, row, columns, target.c, out, scratch)
        guard result == 0 else { throw KernelsError(result, self, target, columns: columns) }
    }

    /// Floats of scratch that `packTile` needs.
    public static func packScratchFloats(columns: Int) -> Int { lk_pack_scratch_floats(columns) }

    /// Packs 16 plain rows of this format (nil: a row of zeros) into one tile of `target.tileBytes(columns:)`.
    public func packTile(
        rows: UnsafePointer<UnsafeRawPointer?>, columns: Int, to target: WeightFormat,
        into tile: UnsafeMutableRawPointer, scratch: UnsafeMutablePointer<Float>
    ) throws(KernelsError) {
        let result = lk_pack_tile(c, rows, columns, target.c, tile, scratch)
        guard result == 0 else { throw KernelsError(result, self, target, columns: columns) }
    }
}

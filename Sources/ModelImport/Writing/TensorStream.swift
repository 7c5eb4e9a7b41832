// A tensor from its source file into a shard: read in runs of about 1 MiB, each row checked for numbers
// that are not finite, converted if asked to, and packed as the kernels read it, 16 rows to a tile.
import Kernels
import Shard

final class TensorStream {
    private let input = Scratch()
    private let converted = Scratch()
    private let floats = Scratch()
    private static let runBytes = 1 << 20
    private static let tileRows = PackedMatrix.tileRows

    /// Appends the content of `entry`, read from `slice`.
    func append(_ slice: TensorSlice, as entry: ShardEntry, to output: ShardOutput) throws(ImportError) {
        switch entry.role.content {
        case .matrix: try packed(slice, entry.format, output)
        case .rows, .vector: try plain(slice, entry.format, output)
        case .blob: throw ImportError(.badShape, "\(slice.file.name): \(slice.name) cannot be a blob")
        }
    }

    /// Runs over the rows of `slice` in groups of `multiple`, about a MiB at a time; `body` gets the index of
    /// the first row, the number of rows and the first row's bytes.
    private func runs(
        _ slice: TensorSlice, multiple: Int,
        _ body: (Int, Int, UnsafeRawPointer) throws(ImportError) -> Void
    ) throws(ImportError) {
        let step = max(1, Self.runBytes / (multiple * slice.rowBytes)) * multiple
        for first in stride(from: 0, to: slice.rows, by: step) {
            let count = min(step, slice.rows - first)
            let buffer = input.bytes(count * slice.rowBytes)
            try read(slice, first, count, into: buffer)
            guard let base = buffer.baseAddress else { continue }
            for row in 0..<count {
                guard slice.format.isFinite(row: base + row * slice.rowBytes, columns: slice.cols) else {
                    let place = slice.place(of: first + row)
                    throw ImportError(
                        .badValue,
                        "\(slice.file.name): row \(place) of tensor \(slice.name) (byte "
                            + "\(slice.offset + place * slice.rowBytes)) holds an infinity or NaN; "
                            + "the file is damaged, download it again")
                }
            }
            try body(first, count, UnsafeRawPointer(base))
        }
    }

    /// Reads `count` rows from row `first` on, each from its place.
    private func read(
        _ slice: TensorSlice, _ first: Int, _ count: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ImportError) {
        let (what, size) = ("tensor \(slice.name)", slice.rowBytes)
        guard slice.interleavedHead != nil else {
            return try slice.file.read(at: slice.offset + first * size, into: buffer, what: what)
        }
        for row in 0..<count {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[row * size..<(row + 1) * size])
            try slice.file.read(at: slice.offset + slice.place(of: first + row) * size, into: part, what: what)
        }
    }

    private func packed(_ slice: TensorSlice, _ target: WeightFormat, _ output: ShardOutput) throws(ImportError) {
        guard let tileBytes = target.tileBytes(columns: slice.cols) else { throw refused(slice, target, 0) }
        let scratch = floats.floats(WeightFormat.packScratchFloats(columns: slice.cols))
        let tile = converted.bytes(tileBytes)
        guard let scratchBase = scratch.baseAddress, let tileBase = tile.baseAddress else { return }
        var rows: [UnsafeRawPointer?] = Array(repeating: nil, count: Self.tileRows)
        try runs(slice, multiple: Self.tileRows) { first, count, base throws(ImportError) in
            for start in stride(from: 0, to: count, by: Self.tileRows) {
                for row in 0..<Self.tileRows {
                    rows[row] = start + row < count ? base + (start + row) * slice.rowBytes : nil
                }
                do throws(KernelsError) {
                    try slice.format.packTile(
                        rows: rows, columns: slice.cols, to: target, into: tileBase, scratch: scratchBase)
                } catch {
                    throw refused(slice, target, first + start, error)
                }
                try output.append(UnsafeRawBufferPointer(tile))
            }
        }
    }

    private func plain(_ slice: TensorSlice, _ target: WeightFormat, _ output: ShardOutput) throws(ImportError) {
        guard let rowBytes = target.rowBytes(columns: slice.cols) else { throw refused(slice, target, 0) }
        let scratch = floats.floats(slice.cols)
        let row = converted.bytes(rowBytes)
        guard let scratchBase = scratch.baseAddress, let rowBase = row.baseAddress else { return }
        try runs(slice, multiple: 1) { first, count, base throws(ImportError) in
            if slice.format == target {
                return try output.append(UnsafeRawBufferPointer(start: base, count: count * slice.rowBytes))
            }
            for index in 0..<count {
                do throws(KernelsError) {
                    try slice.format.convert(
                        row: base + index * slice.rowBytes, columns: slice.cols, to: target, into: rowBase,
                        scratch: scratchBase)
                } catch {
                    throw refused(slice, target, first + index, error)
                }
                try output.append(UnsafeRawBufferPointer(row))
            }
        }
    }

    private func refused(
        _ slice: TensorSlice, _ target: WeightFormat, _ row: Int, _ error: KernelsError? = nil
    ) -> ImportError {
        let why = error?.message ?? "rows of \(slice.cols) do not divide into blocks of \(target.blockSize)"
        return ImportError(
            .badValue,
            "\(slice.file.name): tensor \(slice.name), at row \(row), cannot become \(target.name): "
                + "\(why); choose --quantize bf16 or f32, or keep the formats")
    }
}

// How work is divided: matrices by pieces of output rows, everything else by rows of the batch. One row is not worth a
// join.
import Kernels
import Shard

extension Engine {
    /// Runs `body` for each row of the batch (0..<count), on all threads.
    func forRows(_ count: Int, _ body: @escaping (Int) -> Void) {
        if count == 1 { return body(0) }
        let threads = pool.count
        pool.run { thread in
            for row in stride(from: thread, to: count, by: threads) { body(row) }
        }
    }

    /// output = W (rows, columns) @ x (columns,) for the first `count` rows of `input`.
    func multiply(_ matrix: PackedMatrix, _ input: RowBuffer, into output: RowBuffer, count: Int) {
        pool.run(pieces: matrix.pieces) { [self] thread, pieces in
            while let piece = pieces.next(thread) {
                multiply(matrix, rows: matrix.piece(piece), input, into: output, count: count)
            }
        }
    }

    /// Some rows of it.
    func multiply(_ matrix: PackedMatrix, rows: Range<Int>, _ input: RowBuffer, into output: RowBuffer, count: Int) {
        matrix.multiply(rows: rows, inputs: input.inputs(matrix.format), outputs: output.outputs, count: count)
    }

    /// The same, added to the residual stream.
    func addProduct(_ matrix: PackedMatrix, _ input: RowBuffer) {
        let (space, count) = (space, space.batch.rows)
        pool.run(pieces: matrix.pieces) { [self] thread, pieces in
            while let piece = pieces.next(thread) {
                let rows = matrix.piece(piece)
                multiply(matrix, rows: rows, input, into: space.update, count: count)
                for row in 0..<count {
                    Kernels.add(
                        space.update.row(row) + rows.lowerBound, to: space.stream.row(row) + rows.lowerBound,
                        count: rows.count)
                }
            }
        }
    }

    /// normed = norm(stream), ready for its readers.
    func normalise(_ weight: UnsafePointer<Float>) {
        let (space, config) = (space, config)
        forRows(space.batch.rows) { row in
            Kernels.rmsNorm(
                space.stream.row(row), weight: weight, epsilon: config.rmsEpsilon, count: config.hidden,
                into: space.normed.row(row))
            space.normed.prepare(row: row)
        }
    }
}

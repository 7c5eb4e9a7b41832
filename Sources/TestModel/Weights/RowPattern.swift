// What a row of a tensor is made of, as runs of columns. A run is a constant, or random numbers of a given
// standard deviation, or a mean with random numbers around it (float formats only).

import Kernels

/// A run of columns with one distribution.
struct Run: Sendable {
    enum Noise: Sendable {
        case uniform
        /// Plus or minus `spread`: rows of such runs are all equally long.
        case signs
    }

    /// The column after the last.
    let end: Int
    var mean: Float = 0
    /// Standard deviation.
    var spread: Float = 0
    var noise = Noise.uniform
    /// Another stream than the tensor's own, for columns that several tensors have alike.
    var words: RandomWords?
}

/// The runs of one row, from column 0 to its end.
typealias RowPattern = [Run]

/// A tensor to be made: W (rows, columns), row by row.
struct TensorSpec: Sendable {
    let name: String
    /// Innermost first, as GGUF has them.
    let dimensions: [Int]
    let format: WeightFormat
    let words: RandomWords
    let patterns: [RowPattern]
    /// Row → index of its pattern.
    let choose: @Sendable (Int) -> Int

    var columns: Int { dimensions[0] }
    var rows: Int { dimensions.dropFirst().reduce(1, *) }
    var rowBytes: Int { format.rowBytes(columns: columns) ?? 0 }
    var byteCount: Int { rows * rowBytes }

    init(
        _ name: String, _ dimensions: [Int], _ format: WeightFormat, _ words: RandomWords, _ patterns: [RowPattern],
        choose: @escaping @Sendable (Int) -> Int = { _ in 0 }
    ) {
        (self.name, self.dimensions, self.format, self.words) = (name, dimensions, format, words)
        (self.patterns, self.choose) = (patterns, choose)
    }
}

// The formats of a model's matrices: one for all, or a mixture as llama.cpp's quantiser makes them.
public import Kernels

/// Which format each matrix of a file has.
public struct Mixture: Sendable, Equatable {
    /// What most matrices have.
    public let base: WeightFormat
    /// Values and down projections of some layers are finer, as in llama.cpp's Q4_K_M.
    let isMedium: Bool

    public static let names = "F32, F16, BF16, Q8_0, Q4_0, Q6_K or Q4_K_M"

    /// One format but for the output matrix.
    public init(_ base: WeightFormat) { self.init(base, isMedium: false) }

    private init(_ base: WeightFormat, isMedium: Bool) { (self.base, self.isMedium) = (base, isMedium) }

    /// nil when there is no such mixture.
    public init?(name: String) {
        if name.lowercased() == "q4_k_m" {
            self.init(.q4_k, isMedium: true)
        } else if let format = WeightFormat(name: name) {
            self.init(format)
        } else {
            return nil
        }
    }

    /// The output matrix: converters leave it finer.
    var output: WeightFormat { base.ofOutput }

    /// A layer's values and down projections.
    func finer(layer: Int, of layers: Int) -> WeightFormat {
        let isFine = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
        return isMedium && isFine ? .q6_k : base
    }

    /// What a tensor has that is to have `format`: its rows, and the runs that they are made of, must be whole blocks.
    static func fitting(_ format: WeightFormat, _ patterns: [RowPattern]) -> WeightFormat {
        func fits(_ format: WeightFormat) -> Bool {
            patterns.allSatisfy { $0.allSatisfy { $0.end % format.blockSize == 0 } }
        }
        if fits(format) { return format }
        guard let other = format.inBlocksOf32, fits(other) else { return .f16 }
        return other
    }
}

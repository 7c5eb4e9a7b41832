// What ggml and its quantiser, llama-quantize, have settled for these formats; the numbers and rules are in the sources of
// ggml.h and llama-quant.cpp.

extension WeightFormat {
    /// ggml's number of the format, as a GGUF file's tensors have it.
    public var ggmlType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q4_1: 3
        case .q5_0: 6
        case .q5_1: 7
        case .q8_0: 8
        case .q4_k: 12
        case .q5_k: 13
        case .q6_k: 14
        case .bf16: 30
        }
    }

    /// The format of that number; nil for those that Locum does not read.
    public init?(ggmlType: UInt32) {
        guard let format = Self.allCases.first(where: { $0.ggmlType == ggmlType }) else { return nil }
        self = format
    }

    /// What the output matrix has in a model of this format: it stays finer than four bits.
    public var ofOutput: WeightFormat {
        switch self {
        case .q4_0: .q8_0
        case .q4_k: .q6_k
        default: self
        }
    }

    /// What rows that are no multiple of 256 have instead of a K format, not coarser; nil for other formats.
    public var inBlocksOf32: WeightFormat? {
        switch self {
        case .q4_k: .q5_0
        case .q5_k: .q5_1
        case .q6_k: .q8_0
        default: nil
        }
    }
}

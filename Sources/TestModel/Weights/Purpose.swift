// What streams of random words are for. Tensors count from 0 in the order of the file; everything else stays clear
// of them.

enum Purpose {
    static func tensor(_ index: Int) -> UInt64 { UInt64(index) }
    /// The order of the experts' popularity.
    static func popularity(_ layer: Int) -> UInt64 { 1 << 32 + UInt64(layer) }
    /// The gates' directions in the lasting columns, the same in every layer.
    static let gates: UInt64 = 1 << 33
    /// Trial draws for the expected weights of chosen experts.
    static let draws: UInt64 = 1 << 34
}

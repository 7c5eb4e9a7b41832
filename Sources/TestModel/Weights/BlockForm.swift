// What a block of each quantised format is made of (ggml-common.h of https://github.com/ggml-org/ggml): a scale that gives
// random quants the deviation asked for, and a minimum or a change of sign that gives them the mean 0.
import Kernels

/// The bytes that all blocks of a run share.
struct BlockForm {
    /// A whole block, 0 where random bytes go.
    let bytes: [UInt8]
    /// Whole words of 8 bytes, the last one perhaps of 4.
    let random: Range<Int>
    /// Eight of the random bytes, where the run is constant.
    let constant: UInt64
    /// Quants lie from -n to n - 1, and every other block's scale is negative to make up for it.
    let flips: Bool

    /// Six-bit scales and minima of eight parts of a K block, all 32.
    private static let parts: [UInt8] = Array(repeating: 0xA0, count: 8) + Array(repeating: 0, count: 4)
    private static let part: Float = 32

    init(_ format: WeightFormat, _ run: Run) {
        let isConstant = run.spread == 0
        func half(_ value: Float) -> [UInt8] {
            withUnsafeBytes(of: Float16(value).bitPattern.littleEndian) { Array($0) }
        }
        /// A scale: `largest` quant times it is the constant, or quants of this deviation times it have the run's.
        func scale(largest: Float, deviation: Float) -> Float {
            isConstant ? run.mean / largest : run.spread / deviation
        }
        // The root of the mean square of uniform numbers 0..<n about their mean is sqrt((n^2 - 1) / 12).
        let (four, five): (Float, Float) = (4.6098, 9.2331)
        var (head, tail): ([UInt8], [UInt8]) = ([], [])
        let count: Int
        var (filled, alternates) = (UInt64.max, false)
        switch format {
        case .q8_0:
            (head, count) = (half(scale(largest: 127, deviation: 73.89)), 32)
            filled = 0x7F7F_7F7F_7F7F_7F7F
        case .q4_0: (head, count) = (half(scale(largest: 7, deviation: 4.183)), 16)
        case .q4_1:
            let unit = isConstant ? 0 : run.spread / four
            (head, count) = (half(unit) + half(isConstant ? run.mean : -7.5 * unit), 16)
        case .q5_0:
            (head, count) = (half(scale(largest: 15, deviation: 9.2466)), 20)
            alternates = !isConstant
        case .q5_1:
            let unit = isConstant ? 0 : run.spread / five
            (head, count) = (half(unit) + half(isConstant ? run.mean : -15.5 * unit), 20)
        case .q4_k:
            let unit = scale(largest: 15, deviation: four) / Self.part
            (head, count) = (half(unit) + half(isConstant ? 0 : 7.5 * unit) + Self.parts, 128)
        case .q5_k:
            let unit = scale(largest: 31, deviation: five) / Self.part
            (head, count) = (half(unit) + half(isConstant ? 0 : 15.5 * unit) + Self.parts, 160)
        case .q6_k:
            // Sixteen scales of 16 columns each, with alternating signs for the same reason as `flips`.
            let scales = (0..<16).map { UInt8(bitPattern: isConstant || $0 % 2 == 0 ? 32 : -32) }
            (tail, count) = (scales + half(scale(largest: 31, deviation: 18.48) / Self.part), 192)
        case .f32, .f16, .bf16: preconditionFailure("\(format.name) has no blocks")
        }
        bytes = head + Array(repeating: 0, count: count) + tail
        random = head.count..<head.count + count
        (constant, flips) = (filled, alternates)
    }
}

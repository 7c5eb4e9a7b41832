// GGUF's quantised blocks, read a second time in the plainest way there is: element by element, from the description of
// each layout.
import Kernels
import SeededRandom
import Testing

/// The f16 at `place`.
private func half(_ block: [UInt8], _ place: Int) -> Float {
    Float(Float16(bitPattern: UInt16(block[place]) | UInt16(block[place + 1]) << 8))
}

/// The low or high nibble of a byte, as many bits above it from another byte.
private func number(_ low: UInt8, upper: Bool, _ high: UInt8 = 0, from bit: Int = 0, bits: Int = 0) -> Int {
    Int(upper ? low >> 4 : low & 15) | (Int(high) >> bit & (1 << bits - 1)) << 4
}

/// Scale and minimum of the 32 columns with this index: 6 bits each, in 12 bytes.
private func pair(_ bytes: ArraySlice<UInt8>, _ index: Int) -> (scale: Int, minimum: Int) {
    let b = Array(bytes).map(Int.init)
    if index < 4 { return (b[index] & 63, b[index + 4] & 63) }
    return (b[index + 4] & 15 | (b[index - 4] >> 6) << 4, b[index + 4] >> 4 | (b[index] >> 6) << 4)
}

/// Element i of a block.
private func element(_ format: WeightFormat, _ block: [UInt8], _ i: Int) -> Float {
    let (byte, upper) = (i % 16, i >= 16)
    switch format {
    case .q8_0: return half(block, 0) * Float(Int8(bitPattern: block[2 + i]))
    case .q4_0: return half(block, 0) * Float(number(block[2 + byte], upper: upper) - 8)
    case .q4_1: return half(block, 0) * Float(number(block[4 + byte], upper: upper)) + half(block, 2)
    case .q5_0:
        let q = number(block[6 + byte], upper: upper, block[2 + i / 8], from: i % 8, bits: 1)
        return half(block, 0) * Float(q - 16)
    case .q5_1:
        let q = number(block[8 + byte], upper: upper, block[4 + i / 8], from: i % 8, bits: 1)
        return half(block, 0) * Float(q) + half(block, 2)
    case .q4_k, .q5_k:
        // 64 columns share 32 bytes of nibbles.
        let (run, inside) = (i / 64, i % 64)
        let (scale, minimum) = pair(block[4..<16], i / 32)
        let nibbles = block[(format == .q4_k ? 16 : 48) + run * 32 + inside % 32]
        let high = format == .q4_k ? 0 : block[16 + i % 32]
        let q = number(nibbles, upper: inside >= 32, high, from: i / 32, bits: format == .q4_k ? 0 : 1)
        return half(block, 0) * Float(scale) * Float(q) - half(block, 2) * Float(minimum)
    case .q6_k:
        // 128 columns share 64 bytes of nibbles and 32 of high bits.
        let (run, inside) = (i / 128, i % 128)
        let high = block[128 + run * 32 + inside % 32]
        let q = number(block[run * 64 + inside % 64], upper: inside >= 64, high, from: inside / 32 * 2, bits: 2)
        return half(block, 208) * Float(Int8(bitPattern: block[192 + i / 16])) * Float(q - 32)
    case .f32, .f16, .bf16: return .nan
    }
}

@Test("Rows widen to what the description of their format says", arguments: WeightFormat.quantized)
func blocksWiden(format: WeightFormat) throws {
    var source = SplitMix64(12)
    let size = try #require(format.rowBytes(columns: format.blockSize))
    for _ in 0..<20 {
        let row = try source.row(format, columns: 3 * format.blockSize)
        let expected = (0..<3).flatMap { index in
            let block = Array(row[index * size..<(index + 1) * size])
            return (0..<format.blockSize).map { element(format, block, $0) }
        }
        #expect(sameBits(try widen(row, format, columns: 3 * format.blockSize), expected))
    }
}

@Test("A packed matrix is at most 3 % larger than its plain rows", arguments: WeightFormat.allCases)
func packedSizes(format: WeightFormat) throws {
    let columns = 2048
    let tile = try #require(format.tileBytes(columns: columns))
    let row = try #require(format.rowBytes(columns: columns))
    #expect(tile % 64 == 0 && tile >= 16 * row && Double(tile) <= 16 * Double(row) * 1.03)
    #expect(format.rowBytes(columns: format.blockSize - 1) == nil)
}

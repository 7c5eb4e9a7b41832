// Rows of weights straight in their format: quantised blocks are random bits under a scale, no float is ever
// rounded. A block's or element's bits depend on its place in the tensor alone.
import Kernels

extension TensorSpec {
    /// Writes the rows of `range` one after another.
    /// - Parameter out: room for `range.count * rowBytes`, aligned to 4 bytes.
    func fill(rows range: Range<Int>, into out: UnsafeMutableRawPointer) {
        for row in range {
            let target = out + (row - range.lowerBound) * rowBytes
            var start = 0
            for run in patterns[choose(row)] {
                switch format {
                case .f32: floats(run, row, start, target, Float.self) { $0 }
                case .f16: floats(run, row, start, target, UInt16.self) { Float16($0).bitPattern }
                // Half of what is cut off is added first: rounded to nearest. Nothing here is near infinity.
                case .bf16:
                    floats(run, row, start, target, UInt16.self) {
                        UInt16(truncatingIfNeeded: ($0.bitPattern &+ 0x8000) >> 16)
                    }
                default: blocks(run, row, start, target)
                }
                start = run.end
            }
        }
    }

    @inline(__always)
    private func floats<T>(
        _ run: Run, _ row: Int, _ start: Int, _ target: UnsafeMutableRawPointer, _ type: T.Type,
        _ encode: (Float) -> T
    ) {
        let source = run.words ?? words
        let place = target.assumingMemoryBound(to: T.self)
        // A uniform number in -1..<1 has the variance 1/3.
        let scale = run.noise == .uniform ? run.spread * Float(3).squareRoot() * 0x1p-31 : run.spread
        for column in start..<run.end {
            let bits = Int32(truncatingIfNeeded: source[row * columns + column] >> 32)
            let noise = run.noise == .uniform ? Float(bits) : (bits < 0 ? -1 : 1)
            place[column] = encode(run.mean + scale * noise)
        }
    }

    /// Blocks of constant bytes with random ones in their midst; those of one run are alike but for these.
    private func blocks(_ run: Run, _ row: Int, _ start: Int, _ target: UnsafeMutableRawPointer) {
        let source = run.words ?? words
        let form = BlockForm(format, run)
        let size = format.blockSize
        let wordsPerBlock = (form.random.count + 7) / 8
        for block in start / size..<run.end / size {
            let place = target + block * form.bytes.count
            place.copyMemory(from: form.bytes, byteCount: form.bytes.count)
            if form.flips, block % 2 == 1 { (place + 1).storeBytes(of: form.bytes[1] ^ 0x80, as: UInt8.self) }
            let index = (row * (columns / size) + block) * wordsPerBlock
            for part in 0..<wordsPerBlock {
                var word = form.constant
                if run.spread != 0 {
                    word = source[index + part]
                    if format == .q8_0 { word = Self.withoutLeast(word) }
                    if format == .q4_0 { word = Self.withoutZeros(word) }
                }
                let offset = form.random.lowerBound + part * 8
                if form.random.upperBound - offset >= 8 {
                    (place + offset).storeBytes(of: word.littleEndian, as: UInt64.self)
                } else {
                    (place + offset).storeBytes(of: UInt32(truncatingIfNeeded: word).littleEndian, as: UInt32.self)
                }
            }
        }
    }

    /// Eight bytes with each -128 made -127.
    @inline(__always)
    private static func withoutLeast(_ x: UInt64) -> UInt64 {
        let (low, high): (UInt64, UInt64) = (0x7F7F_7F7F_7F7F_7F7F, 0x8080_8080_8080_8080)
        let other = x ^ high
        // The top bit of each byte of `least` is set where that byte of x is 0x80.
        let least = ~(((other & low) &+ low) | other | low)
        return x | least >> 7
    }

    /// Sixteen nibbles with each 0 made 8.
    @inline(__always)
    private static func withoutZeros(_ x: UInt64) -> UInt64 {
        let zeros = ~(x | x >> 1 | x >> 2 | x >> 3) & 0x1111_1111_1111_1111
        return x | zeros << 3
    }
}

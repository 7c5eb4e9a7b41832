// Plain rows: widening, rounding, quantising, checking. Rounding is checked over every F16 value and against
// the compiler's own conversions; the quantisers against their definitions.
import Kernels
import SeededRandom
import Testing

private func bytes(_ values: [Float]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

private func halves(_ row: [UInt8]) -> [UInt16] {
    stride(from: 0, to: row.count, by: 2).map { UInt16(row[$0]) | UInt16(row[$0 + 1]) << 8 }
}

private func isFinite(_ row: [UInt8], _ format: WeightFormat, columns: Int) -> Bool {
    let memory = Memory(row.count)
    memory.base.copyMemory(from: row, byteCount: row.count)
    return format.isFinite(row: memory.base, columns: columns)
}

@Test("Every finite F16 widens exactly on every path, and comes back")
func f16RoundTrips() throws {
    let all = (0...UInt16.max).filter { $0 & 0x7c00 != 0x7c00 }
    let row = all.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    let expected = all.map { bits -> Float in
        let fraction = Float(bits & 0x3ff)
        let exponent = Int(bits >> 10 & 31)
        let power = Float(sign: .plus, exponent: max(exponent, 1) - 15, significand: 1)
        let size = (Float(exponent == 0 ? 0 : 1) + fraction / 1024) * power
        return bits & 0x8000 == 0 ? size : -size
    }
    let results = try onEveryPath { try widen(row, .f16, columns: all.count) }
    #expect(results.scalar.map(\.bitPattern) == expected.map(\.bitPattern))
    #expect(results.others.allSatisfy { sameBits($0, expected) })
    let back = try onEveryPath { try convert(bytes(expected), .f32, to: .f16, columns: all.count) }
    #expect(back.scalar == row)
    #expect(back.others.allSatisfy { $0 == row })
}

@Test("F16 and BF16 round to nearest even, also between subnormals")
func halvesRoundToEven() throws {
    // Between neighbours a and b: just below the middle, the middle, just above.
    for (format, step) in [(WeightFormat.f16, UInt32(1) << 13), (.bf16, 1 << 16)] {
        for base in [Float(1), 1.5, 3.25, 1000, 0x1p-14, 0x1.8p-10] {
            for odd in [UInt32(0), 1] {
                let low = (base.bitPattern / step + odd) * step
                let row = [low + step / 2 - 1, low + step / 2, low + step / 2 + 1].map(Float.init(bitPattern:))
                let rounded = try widen(convert(bytes(row), .f32, to: format, columns: 3), format, columns: 3)
                let even = (low / step) % 2 == 0 ? low : low + step
                #expect(rounded.map(\.bitPattern) == [low, even, low + step])
            }
        }
    }
    let row = bytes([0x1p-25, 0x1.8p-24, 0x1.000002p-25, 65519])
    let results = try onEveryPath { halves(try convert(row, .f32, to: .f16, columns: 4)) }
    #expect(results.scalar == [0, 2, 1, 0x7bff])
    #expect(results.others.allSatisfy { $0 == results.scalar })
}

@Test("Random values narrow to F16 alike on every path", .enabled(if: !otherPaths.isEmpty))
func f16NarrowsAlike() throws {
    var source = SplitMix64(5)
    for count in [1, 7, 8, 9, 1000] {
        let row = bytes(source.nasty(count, largest: 65000))
        let results = try onEveryPath { try convert(row, .f32, to: .f16, columns: count) }
        #expect(results.others.allSatisfy { $0 == results.scalar })
    }
}

@Test("Q8_0 is 127 steps up to the largest magnitude, rounded half away from zero")
func q8QuantizesAsGGML() throws {
    var values = (0..<32).map { Float($0) * 0.25 - 3.875 }
    values[31] = 63.5  // scale 0.5
    let row = try convert(bytes(values), .f32, to: .q8_0, columns: 32)
    #expect(halves(Array(row[0..<2])) == [0x3800])
    #expect(row[2...].map { Int8(bitPattern: $0) } == values.map { Int8(($0 / 0.5).rounded()) })
    #expect(try widen(row, .q8_0, columns: 32) == values.map { ($0 / 0.5).rounded() * 0.5 })
    #expect(try convert(bytes(Array(repeating: 0, count: 32)), .f32, to: .q8_0, columns: 32).allSatisfy { $0 == 0 })
}

@Test("Q4_0 maps the value of largest magnitude to -8 and packs halves of the block as nibbles")
func q4QuantizesAsGGML() throws {
    var values = (0..<32).map { (i: Int) -> Float in Float(i % 13 * 4 + i % 4) / 4 - 6 }
    values[3] = -8  // scale 1
    values[20] = 7.75  // would be 8: the largest step is 7
    let row = try convert(bytes(values), .f32, to: .q4_0, columns: 32)
    #expect(halves(Array(row[0..<2])) == [0x3c00])
    let nibbles = row[2...].map { $0 & 15 } + row[2...].map { $0 >> 4 }
    let steps = nibbles.map { Float($0) - 8 }
    #expect(steps == values.map { (x: Float) -> Float in min((x + 8.5).rounded(.down), 15) - 8 })
    #expect(try widen(row, .q4_0, columns: 32) == steps)
}

@Test("Quantised values lie within half a step of the originals")
func quantizationErrors() throws {
    var source = SplitMix64(8)
    for (format, steps) in [(WeightFormat.q8_0, Float(127)), (.q4_0, 8)] {
        let values = source.uniform(320, -2...2)
        let row = try convert(bytes(values), .f32, to: format, columns: 320)
        let back = try widen(row, format, columns: 320)
        for block in 0..<10 {
            let part = block * 32..<(block + 1) * 32
            let largest = values[part].map(abs).max() ?? 0
            // Q4_0 has only 7 steps on the side away from its extreme: a whole step there.
            let allowed = largest / steps * (format == .q8_0 ? 0.5 : 1) * 1.01 + largest / 1024
            #expect(zip(values[part], back[part]).allSatisfy { abs($0 - $1) <= allowed })
        }
    }
}

@Test("Packing with conversion equals converting, then packing", arguments: WeightFormat.allCases)
func packingConverts(target: WeightFormat) throws {
    var source = SplitMix64(21)
    let columns = target.columns(96)
    let tileBytes = try #require(target.tileBytes(columns: columns))
    let scratch = Memory(WeightFormat.packScratchFloats(columns: columns) * 4)
    let wide = (0..<11).map { _ in
        let row = Memory(columns * 4 + 1)
        (row.base + 1).copyMemory(from: source.uniform(columns), byteCount: columns * 4)  // at an odd address
        return row
    }
    let direct = Memory(tileBytes)
    let narrow = Memory(tileBytes)
    let converted = try wide.map { try convert(Array($0.bytes[1...]), .f32, to: target, columns: columns) }
    let held = converted.map { row in
        let memory = Memory(row.count)
        memory.base.copyMemory(from: row, byteCount: row.count)
        return memory
    }
    let pointers = wide.map { UnsafeRawPointer?.some(UnsafeRawPointer($0.base + 1)) }
    try WeightFormat.f32.packTile(
        rows: pointers + Array(repeating: nil, count: 5), columns: columns, to: target, into: direct.base,
        scratch: scratch.floats)
    let plain = held.map { UnsafeRawPointer?.some(UnsafeRawPointer($0.base)) }
    try target.packTile(
        rows: plain + Array(repeating: nil, count: 5), columns: columns, to: target, into: narrow.base,
        scratch: scratch.floats)
    #expect(direct.bytes == narrow.bytes)
    withExtendedLifetime((wide, held)) {}
}

@Test("Values that are not finite, or that the format cannot hold, are refused")
func badWeightsAreRefused() throws {
    for bad in [Float.nan, .infinity, -.infinity] {
        var values = [Float](repeating: 1, count: 256)
        values[17] = bad
        #expect(!isFinite(bytes(values), .f32, columns: 256))
        for target in WeightFormat.allCases where target != .f32 {
            #expect(throws: KernelsError.self) { try convert(bytes(values), .f32, to: target, columns: 256) }
        }
    }
    for target in WeightFormat.allCases where target != .f32 && target != .bf16 {
        for large in [Float(1e9), -3e38] {
            var values = [Float](repeating: 1, count: 256)
            values[4] = large
            let error = #expect(throws: KernelsError.self) {
                try convert(bytes(values), .f32, to: target, columns: 256)
            }
            #expect(error?.code == "kernels.not_finite")
            #expect(error?.message.contains(target.name) == true)
        }
    }
    let misfit = #expect(throws: KernelsError.self) {
        let (row, out, scratch) = (Memory(132), Memory(132), Memory(132))
        try WeightFormat.f32.convert(
            row: row.base, columns: 33, to: .q8_0, into: out.base, scratch: scratch.floats)
    }
    #expect(misfit?.code == "kernels.shape")
}

@Test("Scales that are not finite are seen", arguments: WeightFormat.allCases.filter { $0 != .f32 })
func badScalesAreSeen(format: WeightFormat) throws {
    let columns = 2 * max(format.blockSize, 32)
    let row = try convert(bytes(Array(repeating: 0.5, count: columns)), .f32, to: format, columns: columns)
    #expect(isFinite(row, format, columns: columns))
    for place in format.isQuantized ? format.scalePlaces : [0] {
        var bad = row
        let second = row.count / 2 + place
        (bad[second], bad[second + 1]) = format == .bf16 ? (0x81, 0x7f) : (0x01, 0x7c)
        #expect(!isFinite(bad, format, columns: columns))
    }
}

@Test("Formats are named, and known by name")
func formatNames() {
    for format in WeightFormat.allCases { #expect(WeightFormat(name: format.name.uppercased()) == format) }
    #expect(WeightFormat(name: "q3_k") == nil)
    #expect(KVFormat(name: "f16") == .f16)
    #expect(KVFormat(name: "q4_0") == nil)
}

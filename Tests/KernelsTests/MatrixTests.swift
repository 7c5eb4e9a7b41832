// Matrix products: the same bits on every instruction set, for every batch and every split of rows; and right,
// against a product in double precision.
import Foundation
import Kernels
import SeededRandom
import Testing

/// A packed matrix, its rows as f32, and activations for it.
private struct Problem {
    let matrix: PackedMatrix
    let memory: Memory
    let rows: [[Float]]
    let inputs: [[Float]]

    init(
        _ format: WeightFormat, rows: Int, columns: Int, batch: Int, seed: UInt64, nasty: Bool = true
    ) throws {
        var source = SplitMix64(seed)
        let plain = try (0..<rows).map { _ in
            try nasty
                ? source.row(format, columns: columns)
                : convert(source.uniform(columns).withUnsafeBytes { Array($0) }, .f32, to: format, columns: columns)
        }
        let inputs = (0..<batch).map { _ in nasty ? source.nasty(columns) : source.uniform(columns) }
        try self.init(format, plain, columns: columns, inputs: inputs)
    }

    init(_ format: WeightFormat, _ plain: [[UInt8]], columns: Int, inputs: [[Float]]) throws {
        let rows = plain.count
        self.inputs = inputs
        self.rows = try plain.map { try widen($0, format, columns: columns) }
        let tiles = Memory(try #require(format.packedBytes(rows: rows, columns: columns)))
        let scratch = Memory(WeightFormat.packScratchFloats(columns: columns) * 4)
        let tileBytes = try #require(format.tileBytes(columns: columns))
        for first in stride(from: 0, to: rows, by: 16) {
            let held = plain[first..<min(first + 16, rows)].map { row in
                let copy = Memory(row.count)
                copy.base.copyMemory(from: row, byteCount: row.count)
                return copy
            }
            let pointers = (0..<16).map { $0 < held.count ? UnsafeRawPointer(held[$0].base) : nil }
            try withExtendedLifetime(held) {
                try format.packTile(
                    rows: pointers, columns: columns, to: format, into: tiles.base + first / 16 * tileBytes,
                    scratch: scratch.floats)
            }
        }
        matrix = try #require(
            PackedMatrix(
                format: format, rows: rows, columns: columns, base: tiles.base, byteCount: tiles.count))
        memory = tiles
    }

    /// Results (batch, rows), computed in the given ranges of rows and groups of activations.
    func solve(splits: [Range<Int>], group: Int) throws -> [[Float]] {
        let columns = matrix.columns
        let size = try #require(matrix.format.preparedBytes(columns: columns))
        let prepared = inputs.map { input in
            let memory = Memory(size)
            matrix.format.prepare(input, columns: columns, into: memory.base)
            return memory
        }
        let outputs = inputs.map { _ in Memory(matrix.rows * 4) }
        for first in stride(from: 0, to: inputs.count, by: group) {
            let members = first..<min(first + group, inputs.count)
            let x = members.map { UnsafeRawPointer?.some(UnsafeRawPointer(prepared[$0].base)) }
            let y = members.map { UnsafeMutablePointer<Float>?.some(outputs[$0].floats) }
            for range in splits { matrix.multiply(rows: range, inputs: x, outputs: y, count: members.count) }
        }
        return withExtendedLifetime((prepared, memory)) {
            outputs.map { Array(UnsafeBufferPointer(start: $0.floats, count: matrix.rows)) }
        }
    }
}

private let shapes: [(rows: Int, columns: Int)] = [
    (1, 32), (16, 64), (17, 96), (63, 32), (130, 160), (33, 288), (127, 64), (18, 768),
]

@Test("Every path that the processor has is there")
func pathsAreThere() throws {
    let text = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("flags") || $0.hasPrefix("Features") })
    let flags = Set(line.split(separator: " "))
    let needs: [(path: String, flags: Set<Substring>)] = [
        ("avx2", ["avx2", "fma", "f16c"]), ("avxvnni", ["avx2", "fma", "f16c", "avx_vnni"]),
        ("avx512", ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"]),
        ("neon", ["asimddp"]),
    ]
    #expect(otherPaths == needs.filter { $0.flags.isSubset(of: flags) }.map(\.path))
}

@Test(
    "Every path gives the bits of the scalar reference", .enabled(if: !otherPaths.isEmpty),
    arguments: WeightFormat.allCases)
func pathsAreScalar(format: WeightFormat) throws {
    let odd = format.isQuantized ? [] : [(5, 1), (18, 7), (80, 45)]
    for (index, shape) in (shapes + odd).enumerated() {
        for batch in Array(1...13) + (index == 1 ? [29, 64] : []) {
            let problem = try Problem(
                format, rows: shape.rows, columns: format.columns(shape.columns), batch: batch,
                seed: UInt64(index * 16 + batch))
            let results = try onEveryPath { try problem.solve(splits: [0..<shape.rows], group: batch) }
            for other in results.others {
                #expect(zip(results.scalar, other).allSatisfy(sameBits), "\(format) \(shape), batch \(batch)")
            }
            #expect(!results.scalar.contains { $0.contains { $0.isNaN } })
        }
    }
}

@Test("A row's result depends neither on its batch nor on the split of rows", arguments: WeightFormat.allCases)
func rowsAreIndependent(format: WeightFormat) throws {
    let problem = try Problem(format, rows: 75, columns: format.columns(96), batch: 17, seed: 99)
    let whole = try problem.solve(splits: [0..<75], group: 17)
    for group in 1...16 {
        let parts = try problem.solve(splits: [0..<75], group: group)
        #expect(zip(whole, parts).allSatisfy(sameBits), "groups of \(group)")
    }
    let pieces = (0..<problem.matrix.pieces).map(problem.matrix.piece)
    #expect(pieces == [0..<32, 32..<64, 64..<75])
    for splits in [pieces, Array(pieces.reversed()), [0..<16, 16..<64, 64..<75]] {
        #expect(zip(whole, try problem.solve(splits: splits, group: 17)).allSatisfy(sameBits), "\(splits)")
    }
}

// 15 blocks and 16: tiles are padded after an odd number of them.
@Test("Products agree with double precision", arguments: WeightFormat.allCases, [15, 16])
func productsAreRight(format: WeightFormat, blocks: Int) throws {
    let columns = format.isQuantized ? blocks * format.blockSize : blocks * 32
    let problem = try Problem(format, rows: 43, columns: columns, batch: 3, seed: 7, nasty: false)
    let results = try problem.solve(splits: [0..<43], group: 3)
    // f32 sums of some 500 to 4,000 terms; for quantised weights the activations are rounded to 127 steps as well.
    let tolerance = format.isQuantized ? 0.02 : 1e-5
    for (input, result) in zip(problem.inputs, results) {
        for (row, value) in zip(problem.rows, result) {
            var exact = 0.0
            var size = 0.0
            for (w, x) in zip(row, input) {
                exact += Double(w) * Double(x)
                size += Double(w) * Double(w) * Double(x) * Double(x)
            }
            #expect(abs(exact - Double(value)) <= tolerance * size.squareRoot() * 2)
        }
    }
}

@Test("Quantised products are exact where the activations are whole numbers", arguments: WeightFormat.quantized)
func quantizedProductsAreExact(format: WeightFormat) throws {
    // An activation of 127 in each 32 columns makes their scale 1, and weights of scale 2^-3 keep every step exact.
    var source = SplitMix64(3)
    let columns = 2 * format.blockSize
    let x = (0..<columns).map { $0 % 32 == 5 ? Float(127) : Float(Int.random(in: -127...127, using: &source)) }
    let block = try #require(format.rowBytes(columns: format.blockSize))
    let plain = (0..<16).map { _ in
        var row = (0..<block * 2).map { _ in UInt8.random(in: 0...255, using: &source) }
        for place in format.scalePlaces + format.scalePlaces.map({ block + $0 }) {
            (row[place], row[place + 1]) = (0x00, 0x30)
        }
        if format == .q8_0 { row[2] = 0x80 }  // -128, which has no positive counterpart
        return row
    }
    let problem = try Problem(format, plain, columns: columns, inputs: [x])
    let exact = problem.rows.map { row in zip(row, x).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    #expect(try problem.solve(splits: [0..<16], group: 1)[0].map(Double.init) == exact)
}

@Test(
    "Zero, subnormal, largest and infinite scales and minima give the same bits on every path",
    arguments: WeightFormat.quantized)
func extremeScalesAreTheSame(format: WeightFormat) throws {
    let columns = format.columns(96)
    for bits in [UInt16(0), 0x8000, 1, 0x83ff, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00] {
        var source = SplitMix64(UInt64(bits))
        for place in format.scalePlaces {
            var plain = try (0..<17).map { _ in try source.row(format, columns: columns) }
            for row in stride(from: 0, to: 17, by: 2) {
                plain[row][place] = UInt8(truncatingIfNeeded: bits)
                plain[row][place + 1] = UInt8(bits >> 8)
            }
            let inputs = (0..<3).map { _ in source.nasty(columns) } + [Array(repeating: 0, count: columns)]
            let problem = try Problem(format, plain, columns: columns, inputs: inputs)
            let results = try onEveryPath { try problem.solve(splits: [0..<17], group: 4) }
            for other in results.others { #expect(zip(results.scalar, other).allSatisfy(sameBits)) }
            let finite = bits & 0x7c00 != 0x7c00
            #expect(results.scalar.allSatisfy { $0[0].isFinite == finite && $0[1].isFinite })
        }
    }
}

@Test(
    "A block of activations that is not finite, or too large for its scale, makes the results NaN",
    arguments: WeightFormat.quantized)
func badActivationsShow(format: WeightFormat) throws {
    let columns = format.columns(64)
    for bad in [Float.nan, .infinity, -.infinity, 1e30] {
        let problem = try Problem(format, rows: 16, columns: columns, batch: 1, seed: 1, nasty: false)
        var x = problem.inputs[0]
        x[40] = bad
        let results = try onEveryPath {
            let prepared = Memory(try #require(format.preparedBytes(columns: columns)))
            format.prepare(x, columns: columns, into: prepared.base)
            var y = [Float](repeating: 0, count: 16)
            problem.matrix.multiply(input: prepared.base, output: &y)
            return y
        }
        #expect(results.scalar.allSatisfy { $0.isNaN })
        #expect(results.others.allSatisfy { $0.allSatisfy { $0.isNaN } })
        withExtendedLifetime(problem) {}
    }
}

@Test("Activations are rounded alike on every path, halves and extremes included", .enabled(if: !otherPaths.isEmpty))
func preparationIsTheSame() throws {
    var source = SplitMix64(11)
    let size = try #require(WeightFormat.q8_0.preparedBytes(columns: 320))
    for round in 0..<200 {
        var x = source.nasty(320, largest: round % 2 == 0 ? 1e6 : 1e-38)
        // One block whose scale is 1, full of halves: these must go away from zero.
        for i in 0..<32 { x[i] = Float(i) - 16.5 }
        x[0] = 127
        for i in 32..<64 { x[i] *= 0x1p-132 }
        let results = onEveryPath {
            let out = Memory(size)
            WeightFormat.q8_0.prepare(x, columns: 320, into: out.base)
            return out.bytes
        }
        #expect(results.others.allSatisfy { $0 == results.scalar })
        #expect(Int8(bitPattern: results.scalar[16 + 17]) == 1)  // 0.5
        #expect(Int8(bitPattern: results.scalar[16 + 16]) == -1)  // -0.5
    }
}

@Test("A matrix view is refused when the bytes are too few, misaligned or the shape does not fit")
func matrixViewsAreChecked() throws {
    let memory = Memory(4096)
    #expect(PackedMatrix(format: .f32, rows: 16, columns: 64, base: memory.base, byteCount: 4096) != nil)
    #expect(PackedMatrix(format: .f32, rows: 17, columns: 64, base: memory.base, byteCount: 4096) == nil)
    #expect(PackedMatrix(format: .f32, rows: 16, columns: 32, base: memory.base + 4, byteCount: 4092) == nil)
    #expect(PackedMatrix(format: .q8_0, rows: 16, columns: 33, base: memory.base, byteCount: 4096) == nil)
    #expect(PackedMatrix(format: .q6_k, rows: 16, columns: 128, base: memory.base, byteCount: 4096) == nil)
    #expect(PackedMatrix(format: .f16, rows: -16, columns: 64, base: memory.base, byteCount: 4096) == nil)
    #expect(WeightFormat.f32.packedBytes(rows: 1 << 40, columns: 1 << 40) == nil)
    #expect(WeightFormat.q4_0.packedBytes(rows: .max / 3, columns: 32) == nil)
    #expect(WeightFormat.f16.rowBytes(columns: .max) == nil)
}

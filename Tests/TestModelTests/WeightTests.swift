// Rows of weights: the distribution that was asked for, in every format, whatever part of a tensor is made.
import Kernels
import Testing

@testable import TestModel

@Suite struct WeightTests {
    private static let columns = 256
    private static let rows = 64

    private func spec(_ format: WeightFormat, _ pattern: RowPattern) -> TensorSpec {
        TensorSpec("t", [Self.columns, Self.rows], format, RandomWords(seed: 3, 5), [pattern])
    }

    private func plain(_ spec: TensorSpec, rows: Range<Int>? = nil) -> [UInt8] {
        let rows = rows ?? 0..<spec.rows
        return [UInt8](unsafeUninitializedCapacity: rows.count * spec.rowBytes) { buffer, count in
            if let base = buffer.baseAddress { spec.fill(rows: rows, into: base) }
            count = buffer.count
        }
    }

    private func values(_ spec: TensorSpec) throws -> [Float] {
        let raw = plain(spec)
        var out = [Float](repeating: 0, count: spec.rows * spec.columns)
        for row in 0..<spec.rows {
            try raw.withUnsafeBytes { bytes in
                try out.withUnsafeMutableBufferPointer { out in
                    guard let from = bytes.baseAddress, let to = out.baseAddress else { return }
                    try spec.format.widen(
                        row: from + row * spec.rowBytes, columns: spec.columns, into: to + row * spec.columns)
                }
            }
        }
        return out
    }

    @Test("Random weights have mean 0 and the deviation asked for", arguments: WeightFormat.allCases)
    func distribution(_ format: WeightFormat) throws {
        let values = try values(spec(format, [Run(end: Self.columns, spread: 0.02)]))
        let mean = values.reduce(0) { $0 + Double($1) } / Double(values.count)
        let variance = values.reduce(0) { $0 + Double($1) * Double($1) } / Double(values.count)
        #expect(abs(mean) < 0.02 * 0.03)
        #expect(abs(variance.squareRoot() / 0.02 - 1) < 0.02)
        #expect(Set(values.map(\.bitPattern)).count >= (format.isQuantized && format != .q8_0 ? 15 : 200))
    }

    @Test(
        "A constant run is that constant, the columns beside it are not",
        arguments: WeightFormat.allCases.filter { 32 % $0.blockSize == 0 })
    func constant(_ format: WeightFormat) throws {
        let values = try values(spec(format, [Run(end: 32, mean: 1), Run(end: Self.columns, spread: 1)]))
        for row in 0..<Self.rows {
            let line = values[row * Self.columns..<(row + 1) * Self.columns]
            #expect(line.prefix(32).allSatisfy { abs($0 - 1) < 1e-3 })
            #expect(Set(line.dropFirst(32)).count > 4)
        }
    }

    @Test("Rows of signs are all equally long")
    func signs() throws {
        let values = try values(spec(.f32, [Run(end: Self.columns, spread: 0.5, noise: .signs)]))
        #expect(Set(values) == [-0.5, 0.5])
        #expect(abs(values.reduce(0, +)) / 0.5 < 4 * Float(values.count).squareRoot())
    }

    @Test("No Q4_0 weight is -8 and no Q8_0 weight -128", arguments: [WeightFormat.q4_0, .q8_0])
    func symmetric(_ format: WeightFormat) {
        let raw = plain(spec(format, [Run(end: Self.columns, spread: 1)]))
        let block = format == .q4_0 ? 18 : 34
        for (index, byte) in raw.enumerated() where index % block >= 2 {
            #expect(format == .q4_0 ? byte & 15 != 0 && byte >> 4 != 0 : byte != 0x80)
        }
    }

    @Test(
        "Part of a tensor is what stands there in the whole",
        arguments: WeightFormat.allCases.filter { 32 % $0.blockSize == 0 })
    func parts(_ format: WeightFormat) {
        let spec = spec(format, [Run(end: 96, spread: 1), Run(end: Self.columns, spread: 0.1)])
        let part = plain(spec, rows: 17..<40)
        #expect(part.elementsEqual(plain(spec)[17 * spec.rowBytes..<40 * spec.rowBytes]))
        #expect(Set(part).count > 16)
    }
}

// Experts whose matrices have different formats: rows made ready for one must have room where another reads more columns.
import Kernels
import Shard
import Syscall
import Testing

@testable import Worker

@Suite("An expert's working memory")
struct ExpertScratchTests {
    /// A shard of one expert with weights of small random numbers.
    private func shard(
        hidden: Int, intermediate: Int, _ gate: WeightFormat, _ down: WeightFormat
    ) throws -> UnsafeRawBufferPointer {
        let plan = try ShardPlan(
            kind: .expert(hidden: hidden, intermediate: intermediate, count: 1),
            contents: [
                ShardContent(.expertGate, format: gate, rows: intermediate, cols: hidden),
                ShardContent(.expertUp, format: gate, rows: intermediate, cols: hidden),
                ShardContent(.expertDown, format: down, rows: hidden, cols: intermediate),
            ])
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.length, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        memory.copyBytes(from: plan.header)
        var state: UInt64 = 7
        for entry in plan.entries {
            let tile = try #require(entry.format.tileBytes(columns: entry.cols))
            let scratch = UnsafeMutablePointer<Float>.allocate(
                capacity: WeightFormat.packScratchFloats(columns: entry.cols))
            defer { scratch.deallocate() }
            for first in stride(from: 0, to: entry.rows, by: 16) {
                var rows: [[Float]] = []
                for _ in 0..<min(16, entry.rows - first) {
                    rows.append(
                        (0..<entry.cols).map { _ in
                            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                            return Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-34
                        })
                }
                let pointers = rows.map { row in
                    let copy = UnsafeMutablePointer<Float>.allocate(capacity: row.count)
                    copy.initialize(from: row, count: row.count)
                    return UnsafeRawPointer(copy)
                }
                defer { for pointer in pointers { pointer.deallocate() } }
                let padded: [UnsafeRawPointer?] = pointers + Array(repeating: nil, count: 16 - pointers.count)
                try WeightFormat.f32.packTile(
                    rows: padded, columns: entry.cols, to: entry.format,
                    into: try #require(memory.baseAddress) + entry.offset + first / 16 * tile, scratch: scratch)
            }
        }
        return UnsafeRawBufferPointer(memory)
    }

    @Test(
        "Rows together give the bits of rows alone, whatever formats the matrices have",
        arguments: [
            (256, 272, WeightFormat.q4_k, WeightFormat.f16), (1100, 768, .f16, .q4_k), (256, 288, .q6_k, .q5_0),
            (64, 96, .q8_0, .f32), (512, 256, .q4_0, .q5_k),
        ])
    func together(_ hidden: Int, _ intermediate: Int, _ gate: WeightFormat, _ down: WeightFormat) throws {
        let bytes = try shard(hidden: hidden, intermediate: intermediate, gate, down)
        defer { bytes.deallocate() }
        let model = try ExpertModel(try ShardView(validating: bytes))
        let count = ExpertScratch.blockRows
        let inputs: [[Float]] = (0..<count).map { row in
            (0..<hidden).map { column -> Float in Float((column * 31 + row * 17) % 23 - 11) / 7 }
        }
        func apply(_ range: Range<Int>) throws -> [[Float]] {
            let scratch = try ExpertScratch(model)
            let rows = range.map { row in
                let copy = UnsafeMutablePointer<Float>.allocate(capacity: hidden)
                copy.initialize(from: inputs[row], count: hidden)
                return copy
            }
            let results = range.map { _ in
                let result = UnsafeMutablePointer<Float>.allocate(capacity: hidden)
                result.initialize(repeating: .nan, count: hidden)
                return result
            }
            defer { for pointer in rows + results { pointer.deallocate() } }
            scratch.apply(
                model.experts[0], inputs: rows.map { UnsafeRawPointer($0) }, outputs: results.map { Optional($0) },
                count: range.count)
            return results.map { Array(UnsafeBufferPointer(start: $0, count: hidden)) }
        }
        let all = try apply(0..<count)
        for row in 0..<count { #expect(try apply(row..<row + 1)[0] == all[row], "row \(row)") }
        #expect(all.allSatisfy { $0.allSatisfy(\.isFinite) })
    }
}

// Attention: the same bits on both paths, for any group of heads; right against double precision; and a cache
// that grows changes nothing of what is stored.
import Glibc
import Kernels
import SeededRandom
import Testing

/// A cache of one kv head that holds `positions` random keys and values.
private struct Cache {
    let format: KVFormat
    let headDim: Int
    let positions: Int
    let keys: Memory
    let values: Memory
    var k: [[Float]] = []
    var v: [[Float]] = []

    init(_ format: KVFormat, headDim: Int, positions: Int, source: inout SplitMix64) throws {
        (self.format, self.headDim, self.positions) = (format, headDim, positions)
        keys = Memory(try #require(format.keyBytes(headDim: headDim, capacity: positions)))
        values = Memory(try #require(format.valueBytes(headDim: headDim, capacity: positions)))
        for position in 0..<positions {
            let (key, value) = (source.nasty(headDim, largest: 10), source.nasty(headDim, largest: 10))
            format.store(
                key: key, value: value, headDim: headDim, position: position, keys: keys.base, values: values.base)
            k.append(key)
            v.append(value)
        }
    }

    func attend(_ queries: [Float], heads: Int, positions: Int) -> [Float] {
        let scores = Memory(KVFormat.scoreFloats(positions: positions, heads: heads) * 4)
        var out = [Float](repeating: .nan, count: heads * headDim)
        format.attend(
            queries: queries, heads: heads, headDim: headDim, positions: positions, scale: 0.125, keys: keys.base,
            values: values.base, scores: scores.floats, into: &out)
        return out
    }
}

/// Head sizes that a format takes, and positions.
private func shapes(_ format: KVFormat) -> [(Int, Int)] {
    shapes.filter { format != .q8_0 || $0.0 % 32 == 0 }
}

private let shapes = [(8, 1), (64, 5), (128, 33), (24, 16), (5, 70), (80, 17), (128, 200), (64, 120)]

@Test(
    "Attention gives the bits of the scalar reference", .enabled(if: !otherPaths.isEmpty), arguments: KVFormat.allCases)
func attentionIsTheSame(format: KVFormat) throws {
    var source = SplitMix64(41)
    for (headDim, positions) in shapes(format) {
        for heads in [1, 2, 4, 7, 11] {
            let queries = source.nasty(heads * headDim, largest: 10)
            let results = try onEveryPath {
                var again = source
                return try Cache(format, headDim: headDim, positions: positions, source: &again)
                    .attend(queries, heads: heads, positions: positions)
            }
            #expect(results.others.allSatisfy { sameBits(results.scalar, $0) }, "\(headDim) x \(positions), \(heads)")
            #expect(!results.scalar.contains { $0.isNaN })
        }
    }
}

@Test("A head's attention depends neither on the other heads nor on later positions", arguments: [KVFormat.f16, .q8_0])
func headsAreIndependent(format: KVFormat) throws {
    var source = SplitMix64(42)
    for (headDim, positions) in shapes(format) {
        let cache = try Cache(format, headDim: headDim, positions: positions, source: &source)
        let queries = source.uniform(9 * headDim)
        let together = cache.attend(queries, heads: 9, positions: positions)
        for head in 0..<9 {
            let range = head * headDim..<(head + 1) * headDim
            let alone = cache.attend(Array(queries[range]), heads: 1, positions: positions)
            #expect(sameBits(alone, Array(together[range])))
        }
        var beginning = SplitMix64(43)
        let short = try Cache(format, headDim: headDim, positions: (positions + 1) / 2, source: &beginning)
        beginning = SplitMix64(43)
        let long = try Cache(format, headDim: headDim, positions: positions, source: &beginning)
        let first = short.attend(queries, heads: 2, positions: short.positions)
        #expect(sameBits(first, long.attend(queries, heads: 2, positions: short.positions)))
    }
}

@Test("Attention agrees with double precision", arguments: [(KVFormat.f32, 1e-5), (.f16, 2e-2), (.q8_0, 1e-1)])
func attentionIsRight(format: KVFormat, tolerance: Double) throws {
    var source = SplitMix64(44)
    for (headDim, positions) in shapes(format) {
        let cache = try Cache(format, headDim: headDim, positions: positions, source: &source)
        let q = source.uniform(headDim)
        let result = cache.attend(q, heads: 1, positions: positions)
        let scores = cache.k.map { key in zip(q, key).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } * 0.125 }
        let weights = scores.map { Glibc.exp($0 - (scores.max() ?? 0)) }
        let total = weights.reduce(0, +)
        for d in 0..<headDim {
            let exact = zip(weights, cache.v).reduce(0.0) { $0 + $1.0 * Double($1.1[d]) } / total
            #expect(abs(exact - Double(result[d])) <= tolerance * (1 + abs(exact)))
        }
    }
}

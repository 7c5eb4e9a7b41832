// What the kernel tests share: running something on every instruction set this CPU has, reproducible data with
// the values that break kernels, and aligned memory.
import Kernels
import SeededRandom
import Synchronization
import Testing

/// The choice of instruction set is one for the process: tests that compare sets take turns.
private let turn = Mutex(())

/// The results of `body` with the scalar path and with every other that this CPU has.
func onEveryPath<T>(_ body: () throws -> T) rethrows -> (scalar: T, others: [T]) {
    // Before the lock, which it takes itself the first time.
    let paths = otherPaths
    return try turn.withLock { _ in
        defer { Kernels.initialize() }
        Kernels.select(instructionSet: "scalar")
        let scalar = try body()
        var others: [T] = []
        for path in paths {
            Kernels.select(instructionSet: path)
            others.append(try body())
        }
        return (scalar, others)
    }
}

/// The paths beside the scalar one that this CPU has.
let otherPaths = turn.withLock { _ in
    defer { Kernels.initialize() }
    return ["avx2", "avxvnni", "avx512", "neon"].filter { Kernels.select(instructionSet: $0) }
}

/// Equal bits, a NaN being as good as any other.
func sameBits(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
}

extension SplitMix64 {
    mutating func uniform(_ count: Int, _ range: ClosedRange<Float> = -1...1) -> [Float] {
        (0..<count).map { _ in Float.random(in: range, using: &self) }
    }

    /// Zeros of both signs, subnormals, tiny and large values among ordinary ones.
    mutating func nasty(_ count: Int, largest: Float = 1e6) -> [Float] {
        (0..<count).map { _ in
            let sign: Float = Bool.random(using: &self) ? 1 : -1
            switch UInt64.random(in: 0..<16, using: &self) {
            case 0: return sign * 0
            case 1: return sign * Float(bitPattern: UInt32.random(in: 1..<0x80_0000, using: &self))
            case 2: return sign * Float.random(in: 0...largest, using: &self)
            case 3: return sign * Float.random(in: 0...1e-6, using: &self)
            case 4: return sign * 0.5
            default: return Float.random(in: -3...3, using: &self)
            }
        }
    }

    /// A plain row of random bits whose values or scales are finite.
    mutating func row(_ format: WeightFormat, columns: Int) throws -> [UInt8] {
        let bytes = try #require(format.rowBytes(columns: columns))
        var row = (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &self) }
        guard format.isQuantized else {
            let values = nasty(columns, largest: 6e4)
            let plain = values.withUnsafeBytes { Array($0) }
            return try convert(plain, .f32, to: format, columns: columns)
        }
        // Exponent bits of the f16 scales: 0 (subnormal) to 15 (below 2).
        for block in stride(from: 0, to: bytes, by: bytes / (columns / format.blockSize)) {
            for place in format.scalePlaces { row[block + place + 1] &= 0xbf }
        }
        return row
    }
}

extension WeightFormat {
    static let quantized = allCases.filter(\.isQuantized)

    /// Where in a plain block its f16 scale and minimum are.
    var scalePlaces: [Int] {
        switch self {
        case .f32, .f16, .bf16: []
        case .q8_0, .q4_0, .q5_0: [0]
        case .q4_1, .q5_1, .q4_k, .q5_k: [0, 2]
        case .q6_k: [208]
        }
    }

    /// `least` columns, or as many more as make the last block whole.
    func columns(_ least: Int) -> Int { (least + blockSize - 1) / blockSize * blockSize }
}

/// Zeroed memory, aligned as a shard's tensors are.
final class Memory {
    let base: UnsafeMutableRawPointer
    let count: Int

    init(_ count: Int) {
        self.count = count
        base = .allocate(byteCount: max(count, 1), alignment: 64)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }

    deinit { base.deallocate() }

    var floats: UnsafeMutablePointer<Float> { base.assumingMemoryBound(to: Float.self) }
    var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: base, count: count)) }
}

func convert(_ row: [UInt8], _ from: WeightFormat, to target: WeightFormat, columns: Int) throws -> [UInt8] {
    let out = Memory(try #require(target.rowBytes(columns: columns)))
    let scratch = Memory(columns * 4)
    try row.withUnsafeBytes {
        try from.convert(
            row: try #require($0.baseAddress), columns: columns, to: target, into: out.base,
            scratch: scratch.floats)
    }
    return out.bytes
}

func widen(_ row: [UInt8], _ format: WeightFormat, columns: Int) throws -> [Float] {
    let out = Memory(columns * 4)
    try row.withUnsafeBytes {
        try format.widen(row: try #require($0.baseAddress), columns: columns, into: out.floats)
    }
    return Array(UnsafeBufferPointer(start: out.floats, count: columns))
}

// Random numbers by place, not by order: the n-th word of a stream is a hash of its key and n, so any thread can
// make any part of a file and the bytes stay the same. The hash is SplitMix64's, whose successive outputs these
// are (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).

/// An endless stream of random words with access by index.
struct RandomWords: Sendable {
    let key: UInt64

    /// The stream of a seed for one purpose; different purposes give unrelated streams.
    init(seed: UInt64, _ purpose: UInt64) { key = Self.mix(Self.mix(seed &+ Self.step) ^ (purpose &* Self.step)) }

    @inline(__always)
    subscript(index: Int) -> UInt64 { Self.mix(key &+ (UInt64(bitPattern: Int64(index)) &+ 1) &* Self.step) }

    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15

    @inline(__always)
    private static func mix(_ x: UInt64) -> UInt64 {
        var z = x
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The same stream in order, for shuffles.
struct WordSequence: RandomNumberGenerator {
    private let words: RandomWords
    private var used = 0

    init(_ words: RandomWords) { self.words = words }

    mutating func next() -> UInt64 {
        defer { used += 1 }
        return words[used]
    }

    /// Roughly normal, mean 0, variance 1: twelve uniform numbers.
    mutating func normal() -> Double {
        (0..<12).reduce(-6.0) { sum, _ in sum + Double(next() >> 11) * 0x1p-53 }
    }
}

// Random numbers that are the same in every run, so that a failure can be repeated; LOCUM_SEED=N gives others.
import Glibc

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(_ seed: UInt64) { state = seed &+ Self.shift }

    private static let shift =
        getenv("LOCUM_SEED").flatMap { UInt64(String(cString: $0)) }.map { $0 &* 0x1_0000_0001 } ?? 0

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Between 0 and 1.
    public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }
    /// From 0 up to `count`.
    public mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }
    /// True that often.
    public mutating func chance(_ probability: Double) -> Bool { unit() < probability }
}

// Random numbers that are a function of (seed, choice, position) and nothing else, so that a sequence that is
// replayed, batched or interrupted draws the same ones. Philox4x32-10: Salmon et al., "Parallel Random
// Numbers: As Easy as 1, 2, 3", SC 2011.

/// A counter-based generator.
enum Philox {
    /// The block for a counter under a key.
    static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var (x, k) = (counter, key)
        for _ in 0..<10 {
            let a = x[0].multipliedFullWidth(by: 0xD251_1F53)
            let b = x[2].multipliedFullWidth(by: 0xCD9E_8D57)
            x = SIMD4(b.high ^ x[1] ^ k[0], b.low, a.high ^ x[3] ^ k[1], a.low)
            k = SIMD2(k[0] &+ 0x9E37_79B9, k[1] &+ 0xBB67_AE85)
        }
        return x
    }

    /// A number in 0 ..< 1, uniform over multiples of 2^-53, for output token `position` of a choice.
    static func uniform(seed: UInt64, choice: UInt32, position: UInt32) -> Double {
        let key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        let words = block(counter: SIMD4(position, choice, 0, 0), key: key)
        let bits = UInt64(words[1]) << 32 | UInt64(words[0])
        return Double(bits >> 11) * 0x1p-53
    }
}

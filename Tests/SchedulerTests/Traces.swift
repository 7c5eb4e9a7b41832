// Traces to try policies on: recorded ones of tales-moe, and synthetic ones whose skew is chosen. The recorded one
// holds ten stories of 300 tokens each, sampled at temperature 1 after different beginnings, with one expert per
// function; its bytes are what `TraceEncoder` writes.
import Foundation
import Scheduler
import SeededRandom
import Testing

enum Recorded {
    static func tales() throws -> AccessTrace {
        let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Traces/tales-moe.trace")
        return try AccessTrace(decoding: [UInt8](Data(contentsOf: path)))
    }
}

/// How routing is skewed.
struct Skew: Sendable, CustomTestStringConvertible {
    var name: String
    /// Zipf's exponent of the experts' popularity; each layer has an order of its own.
    var exponent: Double
    /// Probability that an expert chosen for a token is chosen for the next one as well.
    var repetition: Double

    static let flat = Skew(name: "flat", exponent: 0, repetition: 0)
    static let medium = Skew(name: "medium", exponent: 0.8, repetition: 0.3)
    static let strong = Skew(name: "strong", exponent: 1.4, repetition: 0.5)

    var testDescription: String { name }
}

/// A header with one expert per function, all of one size.
func uniformHeader(layers: Int, experts: Int, k: Int, bytes: Int = 1000) -> TraceHeader {
    TraceHeader(
        model: "synthetic", layers: layers, experts: experts, expertsPerToken: k,
        functionBytes: [Int](repeating: bytes, count: layers * experts), functionOf: Array(0..<layers * experts))
}

/// A model of 60 experts, top 4, with chosen statistics.
func syntheticTrace(_ skew: Skew, layers: Int, tokens: Int, seed: UInt64) throws -> AccessTrace {
    let (experts, k) = (60, 4)
    var random = SplitMix64(seed)
    let weights = (0..<layers).map { _ in
        (0..<experts).shuffled(using: &random).map { pow(Double($0 + 1), -skew.exponent) }
    }
    var chosen = [[Int]](repeating: [], count: layers)
    let rows = (0..<tokens).map { token in
        for layer in 0..<layers {
            var now = chosen[layer].filter { _ in random.chance(skew.repetition) }
            while now.count < k {
                let rest = (0..<experts).filter { !now.contains($0) }
                var left = random.unit() * rest.reduce(0) { $0 + weights[layer][$1] }
                now.append(
                    rest.first {
                        left -= weights[layer][$0]
                        return left < 0
                    } ?? rest[0])
            }
            chosen[layer] = now
        }
        return TraceRow(
            sequence: 0, position: UInt32(token), step: UInt64(token), experts: chosen.flatMap { $0.map(UInt16.init) })
    }
    return try AccessTrace(header: uniformHeader(layers: layers, experts: experts, k: k), rows: rows)
}

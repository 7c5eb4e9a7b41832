// Attention as a moving average. With constant queries and keys, which are what the biases of q and k make, a
// score depends only on the distance: rotary embedding turns pair i by theta_i, so the score at distance n is
// A * mean over pairs of cos(theta_i n). Pairs with a wavelength of some 40 to 600 tokens make the softmax of
// that a window of about ten tokens; random values averaged over it change slowly from token to token.
import Glibc

struct SlowWindow: Sendable {
    /// Queries' and keys' bias for one head (headDim,).
    let bias: [Float]
    /// Variance of the average of independent values of variance 1.
    let fresh: Double
    /// Variance of the average of values that are such an average themselves, scaled to variance 1.
    let repeated: Double

    /// A: the score at distance 0 over that of the far past.
    private static let height = 12.0
    private static let angles = 0.01...0.15
    private static let horizon = 256

    init(headDim: Int, base: Double) {
        let pairs = headDim / 2
        let all = (0..<pairs).map { pow(base, -2 * Double($0) / Double(headDim)) }
        var chosen = all.indices.filter { Self.angles.contains(all[$0]) }
        if chosen.isEmpty { chosen = [pairs - 1] }
        // Scores are divided by the root of headDim.
        let length = (Self.height * Double(headDim).squareRoot() / Double(chosen.count)).squareRoot()
        var bias = [Float](repeating: 0, count: headDim)
        for pair in chosen { bias[pair] = Float(length) }
        self.bias = bias

        let scores = (0..<Self.horizon).map { distance in
            chosen.reduce(0.0) { $0 + cos(all[$1] * Double(distance)) } * Self.height / Double(chosen.count)
        }
        let sum = scores.reduce(0) { $0 + exp($1 - Self.height) }
        let weights = scores.map { exp($0 - Self.height) / sum }
        // Sum over i of w_i w_{i+shift}: the covariance of two averages so far apart.
        let covariance = (0..<Self.horizon).map { shift in
            (0..<Self.horizon - shift).reduce(0.0) { $0 + weights[$1] * weights[$1 + shift] }
        }
        fresh = covariance[0]
        repeated = covariance.enumerated().reduce(0) { sum, at in
            sum + at.element * at.element / covariance[0] * (at.offset == 0 ? 1 : 2)
        }
    }
}

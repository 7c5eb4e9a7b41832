// How a configuration stretches rotary positions beyond the context that a model was first trained for. The methods
// are defined by what Hugging Face transformers computes (modeling_rope_utils.py); YaRN is https://arxiv.org/abs/2309.00071.
import Kernels
import Shard

/// The rotary embedding as a model's files describe it.
struct RotaryScaling {
    enum Method: String {
        case none = "default"
        case linear
        case yarn
    }

    var method = Method.none
    /// How many times as long a context becomes; transformers' default for YaRN follows from the contexts.
    var factor: Double?
    /// Context of the first training; nil: the model's own.
    var originalContext: Double?
    /// YaRN: what cosines and sines are multiplied by, nil for the paper's, and the two numbers that change the paper's.
    var attentionFactor: Double?
    var magnitude: Double?
    var magnitudeOfAll: Double?
    /// YaRN: one more factor on the paper's.
    var factorBeyondPaper = 1.0
    /// YaRN: rotations over the original context above which a pair stays as it is, and below which it is stretched.
    var fastRotations = 32.0
    var slowRotations = 1.0
    /// YaRN: whether the bounds between the two are whole pairs.
    var truncates = true

    /// - Parameters:
    ///   - theta: the base of the frequencies.
    ///   - context: the longest sequence that the files name.
    func rotation(theta: Double, headDim: Int, context: Int) -> Rotation {
        let plain = (0..<headDim / 2).map { Kernels.pow(theta, -2 * Double($0) / Double(headDim)) }
        switch method {
        case .none: return Rotation(frequencies: plain.map { Float($0) })
        case .linear: return Rotation(frequencies: plain.map { Float($0 / (factor ?? 1)) })
        case .yarn:
            let factor = yarnFactor(context)
            let (low, high) = bounds(theta: theta, headDim: headDim, context: originalContext ?? Double(context))
            let frequencies = plain.enumerated().map { pair, frequency in
                let stretched = min(max((Double(pair) - low) / (high - low), 0), 1)
                return Float(frequency / factor * stretched + frequency * (1 - stretched))
            }
            return Rotation(
                frequencies: frequencies, scale: Float(attentionFactor ?? paperFactor(factor) * factorBeyondPaper))
        }
    }

    /// The longest sequence that the stretched model is made for: configurations often go on naming the shorter one.
    func context(_ context: Int) -> Int {
        guard method == .yarn else { return context }
        let reach = (originalContext ?? Double(context)) * yarnFactor(context)
        guard reach > Double(context), reach <= Double(RouterConfig.Limits.context.upperBound) else { return context }
        return Int(reach)
    }

    private func yarnFactor(_ context: Int) -> Double {
        factor ?? Double(context) / (originalContext ?? Double(context))
    }

    private func paperFactor(_ factor: Double) -> Double {
        func scale(_ magnitude: Double) -> Double { factor <= 1 ? 1 : 0.1 * magnitude * Kernels.log(factor) + 1 }
        guard let magnitude, let magnitudeOfAll, magnitude != 0, magnitudeOfAll != 0 else { return scale(1) }
        return scale(magnitude) / scale(magnitudeOfAll)
    }

    /// The pair that is the last to stay as it is, and the first to be stretched whole.
    private func bounds(theta: Double, headDim: Int, context: Double) -> (low: Double, high: Double) {
        func pair(rotations: Double) -> Double {
            Double(headDim) * Kernels.log(context / (rotations * 2 * .pi)) / (2 * Kernels.log(theta))
        }
        var (low, high) = (pair(rotations: fastRotations), pair(rotations: slowRotations))
        if truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        (low, high) = (max(low, 0), min(high, Double(headDim - 1)))
        return (low, low == high ? high + 0.001 : high)
    }
}

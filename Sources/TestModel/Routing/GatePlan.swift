// The sizes of everything that touches the residual stream, so that each layer's gate sees what the dial asks for.
// All follow from how much energy is where; nothing is tried out.
import Glibc

/// Standard deviations for the weights of one layer; "per column" is of the layer's output in the residual stream.
struct LayerPlan: Sendable {
    /// Weights of attention's output matrix: in the rows that it is to write, and elsewhere.
    var attentionOut: (inside: Float, outside: Float)
    /// The same for the shared expert's and the experts' down matrices; rows of the next layer's band are inside.
    var sharedDown: (inside: Float, outside: Float)
    var expertDown: (inside: Float, outside: Float)
    /// The gate's weights in the lasting columns and in the layer's band.
    var gateLasting: Float
    var gateBand: Float
    /// The gate's weight per expert in the common columns.
    var gateCommon: [Float]
}

struct GatePlan {
    let layout: ResidualLayout
    let window: SlowWindow
    let layers: [LayerPlan]

    /// The norms' weight in the common columns, by which gates multiply theirs in return.
    static let hiding: Float = 1.0 / 64
    /// Of what the feed-forward part adds, the share of the routed experts' variance.
    private static let routed = 0.5
    /// Root of the mean square of silu(g) * u for normal g and u.
    private static let activation = 0.596

    init(_ shape: ModelShape, _ dial: RoutingDial, seed: UInt64) {
        layout = ResidualLayout(hidden: shape.hidden, layers: shape.layers)
        window = SlowWindow(headDim: shape.headDim, base: shape.ropeBase)
        let (layout, window) = (layout, window)
        let weightSquares = Self.weightSquares(shape, dial, seed)
        layers = (0..<shape.layers).map { layer in
            let energy = Energy(layout, dial, layer)
            let band = layout.band(layer)
            // What norms let through: nearly all but the common columns.
            let seen = energy.beforeAttention.withoutCommon / energy.beforeAttention.all
            let averaged = seen * ((1 - energy.slowBefore) * window.fresh + energy.slowBefore * window.repeated)
            let attention = 1 / (Double(shape.hidden) * averaged).squareRoot()
            let seenLater = energy.atGate.withoutCommon / energy.atGate.all
            let activation = Self.activation * seenLater
            // The shared expert counts by a sigmoid near a half, the others by their gate's softmax.
            let shared = 1 / (0.5 * activation * Double(shape.sharedWidth).squareRoot())
            let expert = 1 / (weightSquares.squareRoot() * activation * Double(shape.expertWidth).squareRoot())
            let slow = layer == 0 ? energy.lastingSlow.squareRoot() : dial.slow.squareRoot()
            let fast = (1 - dial.slow).squareRoot()
            let leak = ResidualLayout.leak
            func pair(_ unit: Double, _ inside: Double) -> (Float, Float) {
                (Float(unit * max(inside, leak)), Float(unit * leak / 2.0.squareRoot()))
            }
            let root = (energy.atGate.all / Double(shape.hidden)).squareRoot()
            let share = band.isEmpty ? 1 : dial.correlation
            let lastingUnit = (Double(layout.lasting.count) * energy.lastingColumn).squareRoot() / root
            let bandUnit = (Double(band.count) * energy.bandColumn).squareRoot() / root
            return LayerPlan(
                attentionOut: pair(attention, slow),
                sharedDown: pair(shared, fast * (1 - Self.routed).squareRoot()),
                expertDown: pair(expert, fast * Self.routed.squareRoot()),
                gateLasting: Float(RoutingDial.logitDeviation * share.squareRoot() / lastingUnit),
                gateBand: band.isEmpty ? 0 : Float(RoutingDial.logitDeviation * (1 - share).squareRoot() / bandUnit),
                gateCommon: Self.popularity(shape.experts, dial.skew, layer, seed).map {
                    Float($0 * root / Double(layout.common.count)) / Self.hiding
                })
        }
    }

    /// The logarithm of each expert's popularity, less their mean, in this layer's order.
    static func popularity(_ experts: Int, _ skew: Double, _ layer: Int, _ seed: UInt64) -> [Double] {
        var order = WordSequence(RandomWords(seed: seed, Purpose.popularity(layer)))
        let logarithms = (1...experts).shuffled(using: &order).map { -skew * log(Double($0)) }
        let mean = logarithms.reduce(0, +) / Double(experts)
        return logarithms.map { $0 - mean }
    }

    /// The expected sum of squares of the chosen experts' weights, from 256 draws.
    private static func weightSquares(_ shape: ModelShape, _ dial: RoutingDial, _ seed: UInt64) -> Double {
        var random = WordSequence(RandomWords(seed: seed, Purpose.draws))
        let popular = popularity(shape.experts, dial.skew, 0, seed)
        let draws = 256
        let sum = (0..<draws).reduce(0.0) { sum, _ in
            let odds = popular.map { exp($0 + RoutingDial.logitDeviation * random.normal()) }.sorted(by: >)
            let all = odds.reduce(0, +)
            return odds.prefix(shape.expertsPerToken).reduce(sum) { $0 + $1 * $1 / all / all }
        }
        return sum / Double(draws)
    }
}

/// Where the residual stream's energy (sum of squares over its columns, on average) is at one layer.
private struct Energy {
    typealias Sum = (all: Double, withoutCommon: Double)
    let beforeAttention: Sum
    let atGate: Sum
    /// Share of the slow part in what attention sees.
    let slowBefore: Double
    /// Slow variance of a lasting column once layer 0's attention is through.
    let lastingSlow: Double
    /// Variance of a lasting column and of a column of the layer's band, at the gate.
    let lastingColumn: Double
    let bandColumn: Double

    init(_ layout: ResidualLayout, _ dial: RoutingDial, _ layer: Int) {
        let embedding = ResidualLayout.embedding * ResidualLayout.embedding
        let faint = ResidualLayout.faint * ResidualLayout.faint
        let (lasting, width) = (Double(layout.lasting.count), Double(layout.bandWidth))
        let common = Double(layout.common.count)
        lastingSlow = embedding * dial.slow / (1 - dial.slow)
        let leaks = 2 * Double(layer) * ResidualLayout.leak * ResidualLayout.leak * Double(layout.hidden)
        let bands = Double(layout.hidden - layout.lasting.upperBound) * faint
        // Bands of this layer's predecessors are full, its own has the fast part until its attention adds the slow.
        let full = width * Double(max(0, layer - 1))
        let before =
            lasting * (embedding + (layer == 0 ? 0 : lastingSlow)) + bands + leaks + full
            + (layer == 0 ? 0 : width * (1 - dial.slow))
        let slow = layer == 0 ? 0 : lasting * lastingSlow + full * dial.slow
        let after = lasting * (embedding + lastingSlow) + bands + leaks + full + (layer == 0 ? 0 : width)
        beforeAttention = (before + common, before)
        atGate = (after + common, after)
        slowBefore = slow / before
        lastingColumn = embedding + lastingSlow
        bandColumn = 1 + faint
    }
}

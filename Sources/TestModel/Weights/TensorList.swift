// All tensors of a model in the order of the file, with what each is filled with. Shapes are innermost first; the
// experts of a layer are one tensor per matrix.
import Glibc
import Kernels

enum TensorList {
    /// The tensors of a model: matrices as `mixture` has them, everything else f32.
    static func make(
        _ shape: ModelShape, _ mixture: Mixture, _ dial: RoutingDial, seed: UInt64
    ) -> [TensorSpec] {
        let plan = GatePlan(shape, dial, seed: seed)
        var list = Builder(mixture: mixture, seed: seed)
        let (layout, hidden, vocabulary) = (plan.layout, shape.hidden, shape.vocabulary)
        list.matrix(
            "token_embd.weight", [hidden, vocabulary],
            [
                [
                    Run(end: layout.common.upperBound, mean: 1),
                    Run(end: layout.lasting.upperBound, spread: Float(ResidualLayout.embedding)),
                    Run(end: hidden, spread: Float(ResidualLayout.faint)),
                ]
            ])
        for layer in 0..<shape.layers { list.add(layer, shape, plan) }
        list.norm("output_norm.weight", hidden)
        // Logits of this deviation leave some 3.5 nats of surprise; control tokens (0) are all but impossible.
        let deviation = (2 * (log(Double(vocabulary)) - 3.5)).squareRoot() / Double(hidden).squareRoot()
        let words = vocabulary - SyntheticTokenizer.control.count
        list.matrix(
            "output.weight", [hidden, vocabulary], format: mixture.output,
            [[Run(end: hidden, spread: Float(deviation))], [Run(end: hidden)]]
        ) { $0 < words ? 0 : 1 }
        return list.tensors
    }
}

private struct Builder {
    let mixture: Mixture
    let seed: UInt64
    private(set) var tensors: [TensorSpec] = []

    init(mixture: Mixture, seed: UInt64) { (self.mixture, self.seed) = (mixture, seed) }

    mutating func matrix(
        _ name: String, _ dimensions: [Int], format: WeightFormat? = nil, _ patterns: [RowPattern],
        choose: @escaping @Sendable (Int) -> Int = { _ in 0 }
    ) {
        let words = RandomWords(seed: seed, Purpose.tensor(tensors.count))
        let format = Mixture.fitting(format ?? mixture.base, patterns)
        tensors.append(TensorSpec(name, dimensions, format, words, patterns, choose: choose))
    }

    mutating func vector(_ name: String, _ pattern: RowPattern) {
        matrix(name, [pattern.last?.end ?? 0], format: .f32, [pattern])
    }

    /// A norm's weights: 1, but in the common columns.
    mutating func norm(_ name: String, _ hidden: Int) {
        vector(name, [Run(end: 32, mean: GatePlan.hiding), Run(end: hidden, mean: 1)])
    }

    /// A matrix whose rows write columns of the residual stream, those of `band` more than others; of several
    /// experts each has `hidden` rows.
    mutating func writer(
        _ name: String, _ dimensions: [Int], format: WeightFormat? = nil, _ band: Range<Int>,
        _ spread: (inside: Float, outside: Float)
    ) {
        let (columns, hidden) = (dimensions[0], dimensions[1])
        matrix(
            name, dimensions, format: format,
            [[Run(end: columns, spread: spread.outside)], [Run(end: columns, spread: spread.inside)]]
        ) { band.contains($0 % hidden) ? 1 : 0 }
    }

    mutating func add(_ layer: Int, _ shape: ModelShape, _ plan: GatePlan) {
        let (at, hidden, layout, sizes) = ("blk.\(layer).", shape.hidden, plan.layout, plan.layers[layer])
        /// (rows of 1/sqrt(columns)): keeps the size of what it is applied to.
        func plain(_ columns: Int, times factor: Double = 1) -> [RowPattern] {
            [[Run(end: columns, spread: Float(factor / Double(columns).squareRoot()))]]
        }
        norm(at + "attn_norm.weight", hidden)
        for (part, heads) in [("q", shape.heads), ("k", shape.kvHeads)] {
            // Small beside the bias: what is said has little to do with where attention looks.
            matrix(at + "attn_\(part).weight", [hidden, heads * shape.headDim], plain(hidden, times: 0.3))
            let bias = Array(repeating: plan.window.bias, count: heads).flatMap(\.self)
            vector(at + "attn_\(part).bias", bias.enumerated().map { Run(end: $0.offset + 1, mean: $0.element) })
        }
        let finer = mixture.finer(layer: layer, of: shape.layers)
        matrix(at + "attn_v.weight", [hidden, shape.kvWidth], format: finer, plain(hidden))
        vector(at + "attn_v.bias", [Run(end: shape.kvWidth)])
        writer(
            at + "attn_output.weight", [hidden, hidden], layer == 0 ? layout.lasting : layout.band(layer),
            sizes.attentionOut)
        norm(at + "ffn_norm.weight", hidden)
        matrix(at + "ffn_gate_inp.weight", [hidden, shape.experts], format: .f32, gate(sizes, layout, layer)) { $0 }
        vector(at + "ffn_gate_inp_shexp.weight", plain(hidden, times: 0.3)[0])
        let next = layout.band(layer + 1)
        for (suffix, width, count) in [
            ("exps", shape.expertWidth, [shape.experts]), ("shexp", shape.sharedWidth, []),
        ] {
            for part in ["gate", "up"] {
                matrix(at + "ffn_\(part)_\(suffix).weight", [hidden, width] + count, plain(hidden))
            }
            writer(
                at + "ffn_down_\(suffix).weight", [width, hidden] + count, format: finer, next,
                suffix == "exps" ? sizes.expertDown : sizes.sharedDown)
        }
    }

    /// One pattern per expert. Signs rather than uniform numbers: an expert with a longer row than others would be
    /// chosen more often.
    private func gate(_ sizes: LayerPlan, _ layout: ResidualLayout, _ layer: Int) -> [RowPattern] {
        let band = layout.band(layer)
        let rest = Float(0.03 * RoutingDial.logitDeviation / Double(layout.hidden).squareRoot())
        let shared = RandomWords(seed: seed, Purpose.gates)
        return sizes.gateCommon.map { popularity in
            [
                Run(end: layout.common.upperBound, mean: popularity),
                Run(end: layout.lasting.upperBound, spread: sizes.gateLasting, noise: .signs, words: shared),
                Run(end: band.lowerBound, spread: rest, noise: .signs),
                Run(end: band.upperBound, spread: sizes.gateBand, noise: .signs),
                Run(end: layout.hidden, spread: rest, noise: .signs),
            ]
        }
    }
}

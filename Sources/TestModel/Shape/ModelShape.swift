// The numbers of a Qwen2-MoE model: what a preset fixes and what the GGUF's metadata say. Every layer has experts
// and a shared expert, queries are as wide as the residual stream, and nothing is tied.

/// The shape of a model. All counts are of rows, columns or tensors; widths are in floats.
public struct ModelShape: Sendable, Equatable {
    public var name: String
    public var layers: Int
    /// Width of the residual stream, a multiple of 32 from 128 on.
    public var hidden: Int
    public var heads: Int
    public var kvHeads: Int
    public var experts: Int
    public var expertsPerToken: Int
    public var expertWidth: Int
    public var sharedWidth: Int
    public var vocabulary: Int
    /// Longest sequence in tokens.
    public var context: Int
    public var ropeBase: Double

    public init(
        name: String, layers: Int, hidden: Int, heads: Int, kvHeads: Int, experts: Int, expertsPerToken: Int,
        expertWidth: Int, sharedWidth: Int, vocabulary: Int, context: Int, ropeBase: Double
    ) {
        (self.name, self.layers, self.hidden, self.heads, self.kvHeads) = (name, layers, hidden, heads, kvHeads)
        (self.experts, self.expertsPerToken, self.expertWidth) = (experts, expertsPerToken, expertWidth)
        (self.sharedWidth, self.vocabulary, self.context) = (sharedWidth, vocabulary, context)
        self.ropeBase = ropeBase
    }

    public var headDim: Int { hidden / heads }
    var kvWidth: Int { kvHeads * headDim }

    /// - Throws: `TestModelError(.badArguments)` naming the first number that cannot be.
    func validate() throws(TestModelError) {
        func require(_ condition: Bool, _ why: String) throws(TestModelError) {
            guard condition else { throw TestModelError(.badArguments, "\(name): \(why)") }
        }
        func within(_ value: Int, _ range: ClosedRange<Int>, _ what: String) throws(TestModelError) {
            try require(
                range.contains(value), "\(what) is \(value), it must be \(range.lowerBound) to \(range.upperBound)")
        }
        try within(layers, 1...1024, "the number of layers")
        try within(hidden, 128...65_536, "the hidden size")
        try within(heads, 1...1024, "the number of heads")
        try within(kvHeads, 1...heads, "the number of key/value heads")
        try within(experts, 1...4096, "the number of experts")
        try within(expertsPerToken, 1...experts, "the number of experts per token")
        try within(expertWidth, 32...65_536, "the experts' width")
        try within(sharedWidth, 32...65_536, "the shared expert's width")
        try within(vocabulary, SyntheticTokenizer.least...(1 << 20), "the vocabulary")
        try within(context, 1...(1 << 24), "the context")
        for (what, width) in [("hidden size", hidden), ("experts' width", expertWidth), ("shared width", sharedWidth)] {
            try require(width % 32 == 0, "the \(what) is \(width), which does not divide into blocks of 32")
        }
        try require(hidden % heads == 0 && headDim % 2 == 0, "\(hidden) columns make no even heads among \(heads)")
        try require(heads % kvHeads == 0, "\(heads) heads cannot share \(kvHeads) key/value heads evenly")
        try require(ropeBase > 1 && ropeBase.isFinite, "the rotary base is \(ropeBase)")
        try require(
            layers == 1 || ResidualLayout(hidden: hidden, layers: layers).bandWidth >= 8,
            "\(layers) layers are too many for a hidden size of \(hidden): give fewer --layers")
    }
}

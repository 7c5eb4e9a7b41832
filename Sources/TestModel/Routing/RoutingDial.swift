// What a person may say about the routing. Real models choose experts with three regularities that decide what a
// cache is worth: some experts are popular, tokens that follow each other choose alike, and what a layer will
// choose can be foreseen one layer earlier. The dial sets each by itself.

/// The statistics that a model's routing is to have.
public struct RoutingDial: Sendable, Equatable {
    /// Zipf exponent of the experts' popularity, in another order in each layer: 0 is flat, 1.4 is strong.
    public var skew: Double
    /// Share of a gate's token-dependent variance that moves slowly, over about ten tokens: 0 to 1, where more
    /// than 0.95 counts as 0.95.
    public var repetition: Double
    /// Share of a gate's token-dependent variance that was in the residual stream one layer earlier and that all
    /// layers read alike: 0 to 1.
    public var correlation: Double

    public init(skew: Double = 0, repetition: Double = 0, correlation: Double = 0.5) {
        (self.skew, self.repetition, self.correlation) = (skew, repetition, correlation)
    }

    /// The standard deviation of a gate's logits over tokens. A Gumbel distribution has it, and adding Gumbel noise
    /// to log p and taking the best draws by p: so `skew` is the exponent that can be counted afterwards.
    static let logitDeviation = 1.28

    /// `repetition`, short of what would leave nothing to be repeated.
    var slow: Double { min(repetition, 0.95) }

    /// - Throws: `TestModelError(.badArguments)`
    func validate() throws(TestModelError) {
        func within(_ value: Double, _ range: ClosedRange<Double>, _ what: String) throws(TestModelError) {
            guard range.contains(value) else {
                throw TestModelError(
                    .badArguments, "\(what) is \(value), it must be \(range.lowerBound) to \(range.upperBound)")
            }
        }
        try within(skew, 0...8, "the skew")
        try within(repetition, 0...1, "the repetition")
        try within(correlation, 0...1, "the correlation")
    }
}

// Values by labels that anybody's names stand in. Each combination is a time series that whoever scrapes keeps for long, so
// there are at most so many; all that come later share one, whose names are `_other`: no tenant and no model is called so.

/// Values of one metric by its labels.
public struct LabelledValues<Value: Sendable>: Sendable {
    public static var other: String { "_other" }

    private let bounded: [String]
    private let unbounded: [String]
    private let most: Int
    private let initial: Value
    private var values: [[String]: Value] = [:]

    /// - Parameters:
    ///   - bounded: labels that have few values.
    ///   - unbounded: labels that have as many as there are names.
    ///   - most: combinations that are told apart.
    ///   - initial: what a combination begins with.
    public init(bounded: [String] = [], unbounded: [String], most: Int, initial: Value) {
        (self.bounded, self.unbounded, self.most, self.initial) = (bounded, unbounded, most, initial)
    }

    /// Changes the value of a combination: of the bounded labels first, then of the others, as they were named.
    public mutating func update(_ labels: [String], _ edit: (inout Value) -> Void) {
        var key = labels
        if values[key] == nil, values.count >= most {
            key.replaceSubrange(bounded.count..., with: unbounded.map { _ in Self.other })
        }
        var value = values[key] ?? initial
        edit(&value)
        values[key] = value
    }

    /// All combinations that there were, in order.
    fileprivate func each(_ value: (Value) -> MetricFamily.Value) -> [MetricFamily.Sample] {
        values.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { key, each in
            MetricFamily.Sample(zip(bounded + unbounded, key).map { MetricFamily.Label($0, $1) }, value(each))
        }
    }
}

extension LabelledValues<Double> {
    public init(bounded: [String] = [], unbounded: [String], most: Int) {
        self.init(bounded: bounded, unbounded: unbounded, most: most, initial: 0)
    }

    public mutating func add(_ labels: [String], _ amount: Double = 1) { update(labels) { $0 += amount } }
    public var samples: [MetricFamily.Sample] { each { .number($0) } }
}

extension LabelledValues<Histogram> {
    public var samples: [MetricFamily.Sample] { each { .distribution($0) } }
}

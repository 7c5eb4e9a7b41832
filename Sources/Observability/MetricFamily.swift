// What is measured, in the terms of Prometheus: a family has a name, says what it is, and has a value for each combination of
// its labels. Pure: nothing here knows where values come from or who reads them.

/// A metric with all its values.
public struct MetricFamily: Sendable, Equatable {
    public enum Kind: String, Sendable {
        /// Only grows while the process lives.
        case counter
        case gauge
        case histogram
    }

    public struct Label: Sendable, Hashable {
        public var name: String
        /// Any text; empty means the same as no label.
        public var value: String
        public init(_ name: String, _ value: String) { (self.name, self.value) = (name, value) }
    }

    public enum Value: Sendable, Equatable {
        case number(Double)
        case distribution(Histogram)
    }

    public struct Sample: Sendable, Equatable {
        public var labels: [Label]
        public var value: Value
        public init(_ labels: [Label] = [], _ value: Value) { (self.labels, self.value) = (labels, value) }
    }

    /// `locum_` and words joined by `_`; the unit last, before `_total` of counters.
    public var name: String
    /// A sentence for people.
    public var help: String
    public var kind: Kind
    public var samples: [Sample]

    public init(_ kind: Kind, _ name: String, _ help: String, _ samples: [Sample]) {
        (self.kind, self.name, self.help, self.samples) = (kind, name, help, samples)
    }

    /// With one value and no labels.
    public init(_ kind: Kind, _ name: String, _ help: String, _ value: Double) {
        self.init(kind, name, help, [Sample([], .number(value))])
    }
}

// What `locum status` counts since control started. Distributions keep the latest values only: bounded memory,
// and what a person wants to know is how it is now.
import FunctionModel
import Observability

/// The latest values of a quantity.
public struct Distribution: Sendable {
    private var values: [UInt32] = []
    private var next = 0
    private let most: Int

    public init(most: Int = 8192) { self.most = most }

    public mutating func add(_ value: UInt32) {
        if values.count < most {
            values.append(value)
        } else {
            values[next] = value
            next = (next + 1) % most
        }
    }

    /// The value that `fraction` of the values do not exceed (nearest rank); nil when there is none.
    public func percentile(_ fraction: Double) -> Int? {
        guard !values.isEmpty else { return nil }
        let rank = Int((fraction * Double(values.count)).rounded(.up))
        return Int(values.sorted()[min(max(rank, 1), values.count) - 1])
    }

    var percentiles: Percentiles { Percentiles(p50: percentile(0.5), p99: percentile(0.99)) }
}

/// Counters of the control plane.
struct Statistics: Sendable {
    var coldStarts = 0
    /// Seen by control: of its own acquisitions, and of those that node asked about.
    var warmAcquisitions = 0
    /// Seen by node alone, in this session.
    var warmAtNode: UInt64 = 0
    /// Calls that ended instances answered.
    var endedInvocations: UInt64 = 0
    /// All that was ever said of calls.
    var invocations: UInt64 = 0
    var evictions = 0
    var crashes = 0
    var expertColdStart = Distribution()
    var routerColdStart = Distribution()
    /// The same since control began, in seconds.
    var expertColdStarts = Histogram.seconds
    var routerColdStarts = Histogram.seconds

    mutating func coldStart(of instance: Instance, microseconds: UInt32) {
        switch instance.function.runtime {
        case .expert:
            expertColdStart.add(microseconds)
            expertColdStarts.observe(Double(microseconds) / 1e6)
        case .router:
            routerColdStart.add(microseconds)
            routerColdStarts.observe(Double(microseconds) / 1e6)
        }
    }
}

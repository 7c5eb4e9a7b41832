// One instance as control sees it. Node does, control decides: this is control's picture, corrected by each
// event from node, and thrown away whole when the session with node ends (node ends all instances then).
public import FunctionModel
public import Wire

/// Time as the scheduler sees it: since some fixed moment, injected, so that simulations can make it pass.
public typealias Moment = Duration

/// A worker process of a function, from the decision to start it to its end.
public struct Instance: Sendable, Equatable {
    /// Where in its life it is. The end is leaving the table.
    public enum State: Sendable, Equatable {
        /// Node was told to start it.
        case starting
        /// It serves.
        case ready(pid: UInt32)
        /// Told to finish what is under way and leave; pid is nil when it was told so before it was ready.
        case draining(pid: UInt32?)

        public var name: String {
            switch self {
            case .starting: "starting"
            case .ready: "ready"
            case .draining: "draining"
            }
        }

        public var pid: UInt32? {
            switch self {
            case .starting: nil
            case .ready(let pid): pid
            case .draining(let pid): pid
            }
        }
    }

    public let id: UInt64
    /// As it was when the instance was started; the registry may have moved on.
    public let function: FunctionRecord
    /// Functions that it may invoke (a router's experts), by its own indices.
    public let callees: [UInt64]
    public let requested: Moment
    public internal(set) var state: State = .starting
    /// What node reported last.
    public internal(set) var usage: InstanceUsage? {
        // A report without details says nothing of this.
        didSet {
            if let usage, usage.proportionalBytes > 0 { proportionalBytes = Int(clamping: usage.proportionalBytes) }
        }
    }
    /// Its share of the memory that it maps, as last known; 0 before that.
    private(set) var proportionalBytes = 0
    /// Its cold start stands in the statistics.
    var coldStartCounted = false

    init(id: UInt64, function: FunctionRecord, callees: [UInt64], requested: Moment) {
        (self.id, self.function, self.callees, self.requested) = (id, function, callees, requested)
    }
}

// All instances that control knows of, with the transitions they may make. Pure: no clock, no I/O. An event that
// does not fit is an error for the log, never a trap, because node and control may cross on the wire.
public import FunctionModel
public import Wire

/// An event that does not fit what control knows of an instance.
public struct TransitionError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
}

/// The instances of one node.
public struct InstanceTable: Sendable {
    private var instances: [UInt64: Instance] = [:]
    /// The one instance of each function that new callers get: starting or ready, never draining.
    private var current: [UInt64: UInt64] = [:]

    public init() {}

    public var isEmpty: Bool { instances.isEmpty }
    public var count: Int { instances.count }
    public var all: [Instance] { Array(instances.values) }
    public subscript(id: UInt64) -> Instance? { instances[id] }

    /// The instance that callers of a function get, if there is one.
    public func live(function: UInt64) -> Instance? { current[function].flatMap { instances[$0] } }

    /// - Throws: `TransitionError` when the id is taken or the function has a live instance.
    public mutating func start(
        _ id: UInt64, of function: FunctionRecord, callees: [UInt64], now: Moment
    ) throws(TransitionError) {
        guard instances[id] == nil else { throw TransitionError(description: "instance \(id) exists already") }
        guard current[function.id] == nil else {
            throw TransitionError(description: "function \(function.name) has a live instance already")
        }
        instances[id] = Instance(id: id, function: function, callees: callees, requested: now)
        current[function.id] = id
    }

    /// Node reports that it serves.
    public mutating func ready(_ id: UInt64, pid: UInt32) throws(TransitionError) {
        guard let instance = instances[id] else {
            throw TransitionError(description: "unknown instance \(id) is ready")
        }
        switch instance.state {
        case .starting: instances[id]?.state = .ready(pid: pid)
        // It became ready while the order to leave was on its way.
        case .draining(nil): instances[id]?.state = .draining(pid: pid)
        case .ready, .draining: throw TransitionError(description: "instance \(id) became ready twice")
        }
    }

    /// Control has decided to end these. Answers those that were not leaving already.
    public mutating func drain(_ ids: some Sequence<UInt64>) -> [UInt64] {
        ids.filter { id in
            guard let instance = instances[id] else { return false }
            switch instance.state {
            case .draining: return false
            case .starting, .ready:
                instances[id]?.state = .draining(pid: instance.state.pid)
                if current[instance.function.id] == id { current[instance.function.id] = nil }
                return true
            }
        }
    }

    /// Node reports that it ended.
    public mutating func exited(_ id: UInt64) throws(TransitionError) -> Instance {
        guard let instance = instances.removeValue(forKey: id) else {
            throw TransitionError(description: "unknown instance \(id) ended")
        }
        if current[instance.function.id] == id { current[instance.function.id] = nil }
        return instance
    }

    /// Takes over what node reported; answers the instances whose cold start is known only now.
    public mutating func note(_ usage: [InstanceUsage]) -> [Instance] {
        var answered: [Instance] = []
        for entry in usage where instances[entry.instance] != nil {
            instances[entry.instance]?.usage = entry
            guard entry.coldStartMicroseconds > 0, let instance = instances[entry.instance],
                !instance.coldStartCounted
            else { continue }
            instances[entry.instance]?.coldStartCounted = true
            answered.append(instance)
        }
        return answered
    }

    /// The session with node is over, and all instances with it.
    public mutating func removeAll() {
        instances = [:]
        current = [:]
    }
}

// A trace through the very machine that the daemon runs, with reads and evictions that happen at once. A step's layer
// wants all its functions together and they are busy until the layer ends; only when nothing else can go are those
// that are resident computed first and let go, as a router under a tight budget does.

/// Why a trace could not be replayed.
public struct ReplayError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The smallest budget for shards that would do, in bytes.
    public var minimumBytes: Int

    public init(minimumBytes: Int) { self.minimumBytes = minimumBytes }

    public var description: String {
        "a function of \(minimumBytes) bytes does not fit into the budget for shards; give it \(minimumBytes) or more"
    }
}

public enum Replay {
    /// What a policy makes of a trace.
    ///
    /// - Parameters:
    ///   - shardBudget: bytes for the functions' shards (the whole budget less the header's fixed bytes).
    ///   - loadsAtOnce: reads under way at most, as in the daemon.
    ///   - warmup: generated tokens that go first and are not counted: what a model does that has run for a while.
    /// - Throws: `ReplayError` when a single function is larger than the budget.
    public static func run(
        _ trace: AccessTrace, policy: PolicyName, shardBudget: Int, loadsAtOnce: Int = 2, warmup: Int = 0
    ) throws(ReplayError) -> ReplayResult {
        let visits = Self.visits(trace, warmup: warmup)
        func simulate(_ policy: some ResidencyPolicy) throws(ReplayError) -> ReplayResult {
            var run = ReplayRun(trace.header, policy: policy, budget: shardBudget, loadsAtOnce: loadsAtOnce)
            for visit in visits { try run.visit(visit) }
            run.result.tokens = max(0, trace.rows.count { !$0.isPrompt } - warmup)
            return run.result
        }
        switch policy {
        case .lru: return try simulate(LRUPolicy())
        case .lfu: return try simulate(LFUPolicy())
        case .gdsf: return try simulate(GDSFPolicy())
        case .locum: return try simulate(LocumPolicy())
        case .belady:
            var future = [[Int32]](repeating: [], count: trace.header.functionBytes.count)
            for (moment, visit) in visits.enumerated() {
                for call in visit.calls { future[call.function].append(Int32(clamping: moment)) }
            }
            return try simulate(BeladyPolicy(future: future))
        }
    }

    /// One layer of one step.
    struct Visit {
        struct Call {
            var function: Int
            var rows: Int
        }
        var calls: [Call]
        /// A row of an answer is among them, not only of a prompt, and it is no longer the warm-up.
        var isDecode: Bool
    }

    /// The trace as a row of layer visits, in the order of the calls.
    static func visits(_ trace: AccessTrace, warmup: Int = 0) -> [Visit] {
        let header = trace.header
        var visits: [Visit] = []
        var place = [Int](repeating: -1, count: header.functionBytes.count)
        var (first, generated) = (0, 0)
        while first < trace.rows.count {
            var end = first + 1
            while end < trace.rows.count, trace.rows[end].step == trace.rows[first].step { end += 1 }
            let step = trace.rows[first..<end]
            let decoded = step.count { !$0.isPrompt }
            let isDecode = decoded > 0 && generated >= warmup
            generated += decoded
            for layer in 0..<header.layers {
                var calls: [Visit.Call] = []
                for row in step {
                    let start = layer * header.expertsPerToken
                    for expert in row.experts[start..<start + header.expertsPerToken] {
                        let function = header.functionOf[layer * header.experts + Int(expert)]
                        if place[function] < 0 {
                            place[function] = calls.count
                            calls.append(Visit.Call(function: function, rows: 0))
                        }
                        calls[place[function]].rows += 1
                    }
                }
                for call in calls { place[call.function] = -1 }
                visits.append(Visit(calls: calls, isDecode: isDecode))
            }
            first = end
        }
        return visits
    }
}

/// A replay under way.
private struct ReplayRun<Policy: ResidencyPolicy> {
    private var residency: Residency<Policy>
    private let bytes: [Int]
    /// Functions of the layer under way that were not computed yet.
    private var busy: [Bool]
    var result: ReplayResult

    init(_ header: TraceHeader, policy: Policy, budget: Int, loadsAtOnce: Int) {
        residency = Residency(policy: policy, budget: budget, loadsAtOnce: loadsAtOnce)
        bytes = header.functionBytes
        busy = [Bool](repeating: false, count: bytes.count)
        result = ReplayResult(layers: header.layers, loadsAtOnce: loadsAtOnce)
        var layers = [Int](repeating: .max, count: bytes.count)
        for (index, function) in header.functionOf.enumerated() {
            layers[function] = min(layers[function], index / header.experts)
        }
        for function in bytes.indices {
            residency.add(UInt64(function), bytes: bytes[function], layer: layers[function])
        }
    }

    mutating func visit(_ visit: Replay.Visit) throws(ReplayError) {
        var read = LayerRead(functions: 0, bytes: 0)
        for call in visit.calls {
            let isHit = residency.isResident(UInt64(call.function))
            if !isHit { read = LayerRead(functions: read.functions + 1, bytes: read.bytes + bytes[call.function]) }
            busy[call.function] = true
            residency.accessed(UInt64(call.function), times: call.rows)
            residency.want(UInt64(call.function))
        }
        result.count(visit.calls.count, read, isDecode: visit.isDecode)
        while residency.waiting > 0 {
            if try perform() { continue }
            // Nothing can go but those of this layer: compute what is there, and let it go.
            for call in visit.calls where residency.isResident(UInt64(call.function)) { release(call.function) }
            guard try perform() else { throw ReplayError(minimumBytes: bytes.max() ?? 0) }
        }
        for call in visit.calls { release(call.function) }
    }

    private mutating func release(_ function: Int) {
        busy[function] = false
        residency.served(UInt64(function))
    }

    /// Answers whether anything was done.
    private mutating func perform() throws(ReplayError) -> Bool {
        let actions = residency.next { busy[Int($0)] }
        for action in actions {
            switch action {
            case .load(let id): residency.loaded(id)
            case .evict(let id):
                residency.evicted(id)
                result.evictions += 1
            case .cannot(let id): throw ReplayError(minimumBytes: bytes[Int(id)])
            }
        }
        return !actions.isEmpty
    }
}

// Experts as functions: each layer's rows and pairs are written into this router's request arena, each compute
// thread rings the lanes of its own core, and the results are read in place from the functions' reply arenas.
//
// An instance may leave at any moment (eviction, crash, a hang of 30 s): its link is dropped, the function is
// acquired again and only the calls without an answer are repeated. Experts are stateless, so that is safe.
import CLinux
import Kernels
import Link
import Shard
import Syscall
import Wire

/// Applies experts by calling their functions.
final class LinkDispatcher: ExpertDispatcher {
    let mostRows: Int
    private let connection: InvokeConnection
    private let width: Int
    private let functionsAtOnce: Int
    /// Functions that are called in the go at hand.
    private var isChosen: [Bool]
    private let threads: Int
    /// Per (MoE layer, expert): its function, and its index there.
    private let places: [FunctionMap.Place]
    private let expertCount: Int
    /// Local experts that each function must have.
    private let leastExperts: [Int]
    private var links: [FunctionLink?]
    /// Reply arenas of links that went while results in them are still to be read.
    private var retired: [Mapping] = []
    private let cut: CallPlan
    private let calls: CallTable
    private var work: ExpertWork?
    private let results: UnsafeMutablePointer<UnsafePointer<Float>?>
    private let answered: UnsafeMutablePointer<Bool>
    /// By row of the work.
    private var costs: [SequenceCost] = []
    /// Lanes whose answers to the last work are larger than one should keep. They are told to give them back when
    /// those have been read, which is when the next work begins.
    private var bulky: [Int32] = []
    /// Works until hints are sent no more: set whenever a call had to wait for its shard. With all shards in memory
    /// nothing is guessed.
    private var hintsLeft = 0
    private var hinted: [UInt32] = []
    private(set) var failures: [Int: EngineError] = [:]
    private(set) var waited = StartCost()
    private var left = 0
    private var tries = 0
    private var lastFailure = ""
    /// When the calls under way were planned.
    private var begun: UInt64 = 0
    /// Bytes of the request arena that the largest work since the last trim has touched.
    private var touched = 0
    private var nextCall: UInt64 = 1

    private struct FunctionLink {
        let link: Link
        /// Lanes that are used: one per compute thread at most.
        let lanes: Int
    }

    /// Attempts without a single answer before a step fails.
    private static let mostTries = 20
    /// After that long without an answer an instance is given up.
    private static let patienceMilliseconds: Int32 = 30_000
    /// Some tokens' worth of layers.
    private static let hintsAfterLoad = 256
    /// What a batch may leave behind in the request arena.
    private static let kept = 256 << 10
    /// Answers of a call that are given back as soon as they were read.
    private static let bulk = 64 << 10

    /// - Parameter functionsAtOnce: most functions called at once; 0: any number. Under a tight memory budget no more
    ///   have room together, and a layer that needs more is computed in several goes.
    init(
        connection: InvokeConnection, config: RouterConfig, threads: Int, functionsAtOnce: Int = 0
    ) throws(EngineError) {
        (self.connection, self.threads, width) = (connection, threads, config.hidden)
        self.functionsAtOnce = functionsAtOnce > 0 ? functionsAtOnce : .max
        isChosen = Array(repeating: false, count: config.functions.count)
        (places, expertCount) = (config.functions.places, config.expertCount)
        var least = Array(repeating: 0, count: config.functions.count)
        for place in places { least[place.function] = max(least[place.function], place.local + 1) }
        leastExperts = least
        links = Array(repeating: nil, count: config.functions.count)
        // In the worst case all pairs go to one lane of one function.
        let row = config.hidden * 4
        let perRow = config.expertsPerToken
        let share = Arena.replyBytes / max(1, threads) / 4096 * 4096
        let fit = min(
            share / (perRow * row), (Arena.requestBytes - 4096) / (row + 8 * perRow), ExpertCall.mostPairs / perRow)
        guard fit > 0 else {
            throw EngineError(
                "bad_shard", "\(perRow) rows of \(config.hidden) floats do not fit into an arena of \(share) bytes")
        }
        mostRows = min(Engine.mostRows, fit)
        let slots = mostRows * perRow
        cut = CallPlan(slots: slots, experts: config.expertCount, lanes: threads)
        calls = CallTable(threads: threads, perThread: config.expertCount, slots: slots)
        results = .allocate(capacity: slots)
        results.initialize(repeating: nil, count: slots)
        answered = .allocate(capacity: slots)
        answered.initialize(repeating: false, count: slots)
    }

    deinit {
        results.deallocate()
        answered.deallocate()
    }

    var outputs: UnsafePointer<UnsafePointer<Float>?> { UnsafePointer(results) }

    func plan(_ work: ExpertWork) throws(EngineError) {
        guard work.rows <= mostRows else {
            throw EngineError("invalid_batch", "\(work.rows) rows at once, at most \(mostRows)")
        }
        trim()
        hintsLeft = max(0, hintsLeft - 1)
        self.work = work
        retired.removeAll(keepingCapacity: true)
        failures.removeAll()
        answered.update(repeating: false, count: work.pairs)
        costs.removeAll(keepingCapacity: true)
        for _ in 0..<work.rows { costs.append(SequenceCost()) }
        (left, tries) = (work.pairs, 0)
        try schedule(work)
    }

    /// Counts an attempt that brought nothing.
    /// - Throws: `EngineError(function_failed)` when it was the last.
    private func retry(_ cost: Int, because reason: String) throws(EngineError) {
        tries += cost
        guard tries < Self.mostTries else {
            throw EngineError("function_failed", "gave up after several attempts: \(reason)")
        }
    }

    /// Acquires what is missing and writes rows, pairs and calls for everything not yet answered.
    private func schedule(_ work: ExpertWork) throws(EngineError) {
        let first = work.layer * expertCount
        choose(work)
        let lanes = try acquire(work)
        cut.make(
            slots: work.pairs, lanes: lanes, expert: { Int(work.experts[$0]) },
            isPending: { !answered[$0] && isChosen[places[first + Int(work.experts[$0])].function] },
            function: { places[first + $0].function })
        guard let arena = connection.requestArena else {
            throw EngineError("refused", "node granted links without a request arena")
        }
        let row = width * 4
        let pairsStart = (work.rows * row + 63) / 64 * 64
        let end = pairsStart + work.pairs * MemoryLayout<locum_pair>.size
        guard end <= arena.count else {
            throw EngineError("refused", "\(work.rows) rows do not fit into a request arena of \(arena.count) bytes")
        }
        if end < touched, touched > Self.kept {
            arena.discard(max(end, Self.kept)..<touched, hole: true)
            touched = end
        }
        touched = max(touched, end)
        for index in 0..<work.rows {
            (arena.base + index * row).copyMemory(from: work.hidden + index * work.stride, byteCount: row)
        }
        let pairs = (arena.base + pairsStart).assumingMemoryBound(to: locum_pair.self)
        calls.clear()
        begun = locum_monotonic_ns()
        var written = 0
        for group in cut.groups {
            let local = UInt32(places[first + group.expert].local)
            let start = written
            for index in group.start..<group.start + group.count {
                let slot = cut.order[index]
                pairs[written] = locum_pair(row: UInt32(slot) / UInt32(work.perRow), expert: local)
                calls.slots[written] = slot
                written += 1
            }
            if calls.extend(lane: group.lane, function: group.function, by: group.count) { continue }
            try begin(group, start: start, pairsOffset: pairsStart + start * MemoryLayout<locum_pair>.size, work)
        }
    }

    /// Decides which functions are called now: all that are needed, or as many as may be at once.
    private func choose(_ work: ExpertWork) {
        let first = work.layer * expertCount
        for index in isChosen.indices { isChosen[index] = false }
        var chosen = 0
        for slot in 0..<work.pairs where !answered[slot] && chosen < functionsAtOnce {
            let function = places[first + Int(work.experts[slot])].function
            if !isChosen[function] {
                isChosen[function] = true
                chosen += 1
            }
        }
    }

    /// A new call of a function on a lane.
    private func begin(_ group: CallPlan.Group, start: Int, pairsOffset: Int, _ work: ExpertWork) throws(EngineError) {
        guard let target = links[group.function] else {
            throw EngineError("crashed", "function \(group.function) has no link")
        }
        let share = target.link.replyRange(lane: group.lane)
        var call = locum_call()
        call.call = nextCall
        nextCall &+= 1
        call.rows_offset = 0
        call.pairs_offset = UInt64(pairsOffset)
        call.output_offset = UInt64(share.lowerBound)
        call.row_count = UInt32(work.rows)
        call.width = UInt32(width)
        call.pair_count = UInt32(group.count)
        calls.append(
            CallTable.Entry(
                call: call, socket: target.link.lanes[group.lane].raw, function: group.function,
                output: target.link.reply.base + share.lowerBound, slots: start),
            lane: group.lane)
    }

    func send(thread: Int) {
        let entries = calls.entries(thread)
        for index in entries.indices where !ExpertCall.send(&entries[index].call, on: entries[index].socket) {
            entries[index].outcome = .gone
        }
    }

    func receive(thread: Int) {
        let entries = calls.entries(thread)
        // The last one first: so the callees on this core run one after another, and the core comes back to this
        // thread once instead of after each of them.
        for index in entries.indices.reversed() where entries[index].outcome == nil {
            let call = entries[index].call
            entries[index].outcome = ExpertCall.receive(call.call, pairs: call.pair_count, on: entries[index].socket)
        }
    }

    func settle() throws(EngineError) -> Bool {
        guard let work else { return true }
        let before = left
        var isFaulty = false
        var longestLoad: UInt64 = 0
        for thread in 0..<threads {
            for call in calls.entries(thread) {
                switch call.outcome {
                case .answered(let cpu, let load):
                    longestLoad = max(longestLoad, load)
                    let each = cpu / UInt64(call.call.pair_count)
                    for index in 0..<Int(call.call.pair_count) {
                        let slot = Int(calls.slots[call.slots + index])
                        results[slot] = UnsafePointer(
                            (call.output + index * width * 4).assumingMemoryBound(to: Float.self))
                        answered[slot] = true
                        costs[slot / work.perRow].expertNanoseconds &+= each
                    }
                    left -= Int(call.call.pair_count)
                    if Int(call.call.pair_count) * width * 4 > Self.bulk { bulky.append(call.socket) }
                case .refused, .silent:
                    isFaulty = true
                    drop(call.function, faulty: true)
                    lastFailure =
                        "function \(call.function) "
                        + (call.outcome == .silent ? "did not answer" : "refused a call or answered another one")
                case .unreadable:
                    // Node knows why, and says so when the function is acquired again.
                    drop(call.function)
                    lastFailure = "the shard of function \(call.function) cannot be read"
                case .gone, nil:
                    // Of one that node ended itself it knows; any other has no business to close a lane.
                    drop(call.function, faulty: true)
                    lastFailure = "function \(call.function) ended"
                case .leaving:
                    drop(call.function)
                    lastFailure = "function \(call.function) left"
                }
            }
        }
        calls.clear()
        if longestLoad > 0 {
            hintsLeft = Self.hintsAfterLoad
            // As an expert says; it cannot have been longer than the wait for it.
            waited.read += min(longestLoad, locum_monotonic_ns() - begun)
        }
        if left == 0 {
            self.work = nil
            return true
        }
        if left < before {
            tries = 0
        } else {
            // Another instance of a function that answered wrongly or not at all gets one more chance, not twenty.
            try retry(isFaulty ? Self.mostTries / 2 : 1, because: lastFailure)
        }
        try schedule(work)
        return false
    }

    func cost(row: Int) -> SequenceCost { costs[row] }

    var readsShards: Bool { hintsLeft > 0 }

    var wantsHints: Bool { readsShards && connection.wantsHints }

    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>) {
        hinted.removeAll(keepingCapacity: true)
        let first = layer * expertCount
        for expert in experts {
            let function = UInt32(places[first + Int(expert)].function)
            if !hinted.contains(function) { hinted.append(function) }
        }
        connection.prefetch(hinted)
    }

    /// Has the answers to the last work given back where they are large. They must have been read.
    func trim() {
        for lane in bulky { ExpertCall.trim(lane: lane) }
        bulky.removeAll(keepingCapacity: true)
    }

    func dropRevoked() {
        let gone = connection.takeRevoked()
        guard !gone.isEmpty else { return }
        let set = Set(gone)
        for (function, link) in links.enumerated() {
            if let link, set.contains(link.link.grant.link) { links[function] = nil }
        }
        bulky.removeAll()
        connection.release(gone)
    }

    /// Closes a function's link. What it answered stays readable until the next work. `faulty`: its instance is to end.
    private func drop(_ function: Int, faulty: Bool = false) {
        guard let gone = links[function] else { return }
        // Its sockets close, and their numbers may soon be others'.
        bulky.removeAll()
        retired.append(gone.link.reply)
        links[function] = nil
        connection.release([gone.link.grant.link], faulty: faulty)
    }
}

extension LinkDispatcher {
    /// Sees to it that every function which the pending pairs need has a link.
    /// - Returns: lanes that all of them have.
    private func acquire(_ work: ExpertWork) throws(EngineError) -> Int {
        let first = work.layer * expertCount
        var lanes = threads
        var missing: [UInt32] = []
        for slot in 0..<work.pairs where !answered[slot] {
            let function = places[first + Int(work.experts[slot])].function
            guard isChosen[function] else { continue }
            if let link = links[function] {
                lanes = min(lanes, link.lanes)
            } else if !missing.contains(UInt32(function)) {
                missing.append(UInt32(function))
            }
        }
        if !missing.isEmpty { try link(missing, work) }
        for function in missing { lanes = min(lanes, links[Int(function)]?.lanes ?? lanes) }
        return lanes
    }

    /// Has node link the functions. What of the work calls one whose shard is bad is given up; everything else goes on.
    private func link(_ missing: [UInt32], _ work: ExpertWork) throws(EngineError) {
        let begun = locum_monotonic_ns()
        var granted: [Link]?
        while granted == nil {
            do throws(InvokeError) {
                granted = try connection.acquire(callees: missing)
            } catch {
                switch error.code {
                case "bad_shard", "shard_missing":
                    if missing.count == 1 {
                        return giveUp(Int(missing[0]), work, because: EngineError(error.code, error.message))
                    }
                    // Node does not say which of them.
                    for function in missing { try link([function], work) }
                    return
                // Node has started it several times already.
                case "crashed": try retry(Self.mostTries / 2, because: error.message)
                default: throw EngineError(error.code, error.message)
                }
            }
        }
        waited = waited + StartCost(wall: locum_monotonic_ns() - begun, (granted ?? []).map(\.grant))
        for (link, function) in zip(granted ?? [], missing) {
            links[Int(function)] = try check(link, function: Int(function))
            if link.grant.isStart { pay(start: Int(function), work) }
        }
    }

    /// The first row that calls a function has had it started.
    private func pay(start function: Int, _ work: ExpertWork) {
        let first = work.layer * expertCount
        let slot = (0..<work.pairs).first { places[first + Int(work.experts[$0])].function == function }
        if let slot { costs[slot / work.perRow].coldStarts &+= 1 }
    }

    /// What waits for this function will not be had.
    private func giveUp(_ function: Int, _ work: ExpertWork, because error: EngineError) {
        // Something became known.
        tries = 0
        let first = work.layer * expertCount
        for slot in 0..<work.pairs where !answered[slot] {
            guard places[first + Int(work.experts[slot])].function == function else { continue }
            (answered[slot], results[slot]) = (true, nil)
            failures[slot / work.perRow] = error
            left -= 1
        }
    }

    /// - Throws: `EngineError` when the instance is not of the shape that this model needs.
    private func check(_ link: Link, function: Int) throws(EngineError) -> FunctionLink {
        let grant = link.grant
        guard grant.runtime == .expert, Int(grant.width) == width, Int(grant.experts) >= leastExperts[function],
            !link.lanes.isEmpty
        else {
            connection.release([grant.link])
            throw EngineError(
                "bad_shard",
                "function \(function) has \(grant.experts) experts of width \(grant.width), "
                    + "needed are \(leastExperts[function]) of \(width); deploy the model again")
        }
        for lane in link.lanes where locum_set_receive_timeout(lane.raw, Self.patienceMilliseconds) < 0 {
            let error = SyscallError(stage: "limit the wait for function \(function)")
            throw EngineError("refused", "\(error)")
        }
        return FunctionLink(link: link, lanes: min(threads, link.lanes.count))
    }
}

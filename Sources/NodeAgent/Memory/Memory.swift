// The memory budget of this node: everything that is to take memory asks here first, and gets it when the sum of all
// reservations stays below the budget. Three kinds of things ask: processes (before the fork), sequences of routers
// (before their keys and values exist) and shards (before a page is read; Memory+Shards.swift). Room is made by having
// idle shards dropped, then by ending idle processes; a call under way keeps its pages.
//
//   process ─┐
//   sequence ┼─► reserved ≤ budget ─► granted      else: waits, while shards are dropped
//   shard   ─┘
//
// Processes go before sequences: a sequence under way may need another expert's process to end at all. What one
// layer's experts need is never given to sequences, so that those under way always come to an end. A router is
// admitted beside others only if each of them could serve a sequence then; else the idle ones are ended for it.
import Scheduler
import ShardStore
import Syscall
import Wire

/// Reservations of one node.
final class Memory {
    private struct Waiting {
        let owner: UInt64
        let bytes: Int
        /// Of a router's process.
        var floor: Floor?
        /// Order of arrival.
        var ticket = 0
        /// Of an expert's process, which leaves room for the shards of one layer.
        var isWorker = false
        let granted: () -> Void
    }

    /// What a router needs to serve at all: with that, one sequence at a time always comes to its end.
    private struct Floor {
        /// Its process beside the shard.
        let process: Int
        let shard: Int
        /// One layer's experts.
        let workingSet: Int
        /// Its longest sequence.
        let sequence: Int
        /// A sequence was granted since it was admitted: it may make room for other routers.
        var hasServed = false

        var own: Int { process + shard }
    }

    /// Requests of sequences that may wait.
    static let mostWaiting = 1024

    let total: Int
    let loop: EventLoop
    let store: ShardStore
    var residency: Residency<LocumPolicy>
    var entries: [ShardDigest: ShardEntry] = [:]
    var byKey: [UInt64: ShardEntry] = [:]
    var nextKey: UInt64 = 1
    /// Of all attached instances; looked through often, so kept flat.
    var watches: ContiguousArray<CallWatch> = []
    /// Shards that did not fit beside the processes of the moment.
    var postponed: Set<UInt64> = []
    /// Numbers of models, by name.
    var models: [Substring: Int] = [:]
    /// Reserved for each process and for each router's sequences, by instance.
    private var processes: [UInt64: Int] = [:]
    private(set) var sequences: [UInt64: Int] = [:]
    /// What routers keep of their sequences for requests to come, by instance.
    var spares: [UInt64: Spare] = [:]
    private var processBytes = 0
    private var sequenceBytes = 0
    private var daemons = MemoryCost.daemons
    private var governor = PressureGovernor()
    /// Bytes of the largest expert shard so far.
    var largestExpert = 0
    /// Of each router that was admitted, by instance.
    private var floors: [UInt64: Floor] = [:]
    private var tickets = 0
    private var waitingProcesses: [Waiting] = []
    private var waitingSequences: [Waiting] = []
    private var isAdvancing = false
    private var isDue = false
    /// Looks again when somebody waits: what is in the way may have come to rest meanwhile.
    private var nextLook: EventLoop.Timer?
    private static let lookPause = UInt64.milliseconds(100)
    var prediction: Prediction
    var predictors: [Int: Predictor] = [:]
    /// The highest layer with experts that was guessed for, by model.
    var layerCounts: [Int: Int] = [:]
    /// Of shards since the start, and the time it took.
    var bytesRead: UInt64 = 0
    var readNanoseconds: UInt64 = 0
    /// Asks for the end of instances that idle, or of routers among them only, to make room for others: at least so many
    /// bytes.
    var endIdle: (_ bytes: Int, _ routersOnly: Bool) -> Void = { _, _ in }
    /// Asks a router to give back what it keeps for requests to come: at least so many bytes.
    var reclaim: (_ router: UInt64, _ bytes: Int) -> Void = { _, _ in }
    /// An instance that does not let go of its shard, or whose shard cannot be had.
    var end: (Instance, String) -> Void = { _, _ in }

    init(_ loop: EventLoop, _ store: ShardStore, total: Int, prediction: Prediction) {
        (self.loop, self.store, self.total, self.prediction) = (loop, store, total, prediction)
        residency = Residency(
            policy: LocumPolicy(), budget: max(0, total - MemoryCost.daemons - MemoryCost.margin),
            hintBudget: total / 16)
    }

    var usage: MemoryUsage {
        MemoryUsage(
            budget: UInt64(total), used: UInt64(residency.used + processBytes + sequenceBytes + daemons),
            shards: UInt64(residency.used), processes: UInt64(processBytes + daemons), sequences: UInt64(sequenceBytes))
    }

    // MARK: Processes

    /// Private memory that the kernel lets an instance have. An honest expert stays far below; a router's sequences come
    /// and go, so that its own limit is the whole budget.
    func mostPrivate(_ spec: InstanceSpec) -> UInt64 {
        switch spec.runtime {
        case .expert: UInt64(clamping: Int(clamping: spec.overhead) * 2 + 64 << 20)
        case .router: UInt64(total)
        }
    }

    /// Room for an instance's process; `granted` runs when there is some, at once if possible.
    func reserve(process instance: Instance, granted: @escaping () -> Void) {
        let bytes = Int(clamping: instance.spec.overhead)
        switch instance.spec.runtime {
        case .router:
            let floor = Floor(
                process: bytes, shard: MemoryCost.pages(instance.shardBytes),
                workingSet: Int(clamping: instance.spec.workingSet),
                sequence: Int(clamping: instance.spec.longestSequence))
            waitingProcesses.append(
                Waiting(owner: instance.id, bytes: bytes, floor: floor, ticket: ticket(), granted: granted))
        case .expert:
            if workerBytes + bytes > mostWorkerBytes { endIdle(bytes, false) }
            // Sequences under way may need it to end, and a router waits until they have.
            let place = waitingProcesses.firstIndex { !$0.isWorker } ?? waitingProcesses.count
            waitingProcesses.insert(
                Waiting(owner: instance.id, bytes: bytes, isWorker: true, granted: granted), at: place)
        }
        advance()
    }

    /// An instance is gone: whatever was reserved for it is free.
    func release(_ instance: Instance) {
        waitingProcesses.removeAll { $0.owner == instance.id }
        waitingSequences.removeAll { $0.owner == instance.id }
        processBytes -= processes.removeValue(forKey: instance.id) ?? 0
        sequenceBytes -= sequences.removeValue(forKey: instance.id) ?? 0
        (floors[instance.id], spares[instance.id]) = (nil, nil)
        advance()
    }

    // MARK: Sequences

    /// Room for a sequence of a router; `granted` runs when there is some.
    /// - Throws: `NodeAgentError` `no_memory` when it could never be had, `busy` when too many wait.
    func reserve(sequence bytes: Int, of router: Instance, granted: @escaping () -> Void) throws(NodeAgentError) {
        let needed = floors[router.id].map { $0.own + $0.workingSet } ?? 0
        let most = total - daemons - MemoryCost.margin - needed
        guard bytes <= most else {
            throw NodeAgentError(
                code: "no_memory",
                message:
                    "this sequence needs \(bytes) bytes for its keys and values, and at most \(max(0, most)) of the "
                    + "memory budget of \(total) can be free for it; ask for fewer tokens (max_tokens), or give "
                    + "`locum up` a larger --memory")
        }
        guard waitingSequences.count < Self.mostWaiting else {
            throw NodeAgentError(
                code: "busy", message: "\(waitingSequences.count) sequences wait for memory already; try again later")
        }
        waitingSequences.append(Waiting(owner: router.id, bytes: bytes, ticket: ticket(), granted: granted))
        advance()
    }

    private func ticket() -> Int {
        tickets += 1
        return tickets
    }

    /// The router has answered somebody since it was admitted.
    func hasServed(_ router: Instance) -> Bool { floors[router.id]?.hasServed ?? false }

    func unreserve(sequence bytes: Int, of router: Instance) {
        let held = sequences[router.id] ?? 0
        sequences[router.id] = held - min(bytes, held)
        spares[router.id]?.shrink(to: held - min(bytes, held))
        sequenceBytes -= min(bytes, held)
        advance()
    }

    /// What daemons and routers take.
    private var base: Int { daemons + MemoryCost.margin + floors.values.reduce(0) { $0 + $1.own } }

    /// What a shard could have at most, if nothing else were there.
    var mostShardBytes: Int { total - daemons - MemoryCost.margin }

    /// What one layer's experts need.
    private var workingSet: Int { floors.values.map(\.workingSet).max() ?? 0 }

    /// What sequences can never have.
    var floor: Int { base + workingSet }

    private var workerBytes: Int { processBytes - floors.keys.reduce(0) { $0 + (processes[$1] ?? 0) } }

    /// What experts' processes may take. Starting one again costs some 3 ms for 0.3 MB, reading a shard 1 ms for 1 MB: so
    /// idle processes stay before idle shards do, as long as some room is left for shards to come and go in.
    private var mostWorkerBytes: Int {
        let room = max(0, total - base - sequenceBytes)
        return room - max(workingSet / 2, room / 6)
    }

    // MARK: Making room

    /// The daemons were measured: more than expected counts. And the host: under pressure shards get less.
    /// - Parameter stalled: see `MemoryPressure`.
    /// - Returns: what to tell a person, when that has begun or ended.
    func measured(daemons bytes: Int, stalled: Double) -> String? {
        daemons = max(MemoryCost.daemons, bytes)
        let before = governor.heldBack
        governor.observe(stalled: stalled)
        defer { advance() }
        switch (before > 0, governor.heldBack > 0) {
        case (false, true):
            return
                "this host is short of memory (tasks wait for it \(Int(stalled * 100)) % of the time): experts get less of "
                + "the budget until that ends"
        case (true, false): return "this host has memory again: experts get the whole budget"
        default: return nil
        }
    }

    /// There are no instances any more, and nobody will look at the host until there are.
    func rest() { governor = PressureGovernor() }

    /// Grants what fits, and makes room for the next that waits.
    func advance() {
        isDue = true
        guard !isAdvancing else { return }
        isAdvancing = true
        defer { isAdvancing = false }
        // What is granted or dropped on the way may free more.
        while isDue {
            isDue = false
            step()
        }
    }

    private func step() {
        while let next = waitingProcesses.first, fits(next) {
            waitingProcesses.removeFirst()
            floors[next.owner] = next.floor
            processes[next.owner, default: 0] += next.bytes
            processBytes += next.bytes
            loop.soon(next.granted)
        }
        while let index = nextSequence, case let next = waitingSequences[index], leavesFloor(next), fits(next) {
            waitingSequences.remove(at: index)
            floors[next.owner]?.hasServed = true
            sequences[next.owner, default: 0] += next.bytes
            sequenceBytes += next.bytes
            loop.soon(next.granted)
        }
        // For a router that waits for others to end, nobody has to go before they have.
        var wanted = waitingProcesses.first.flatMap { mayCome($0) ? $0.bytes : nil } ?? 0
        if let index = nextSequence, leavesFloor(waitingSequences[index]) { wanted = waitingSequences[index].bytes }
        residency.budget = max(0, free - wanted - heldBack)
        residency.headroom = headroom
        reclaimSpares(needed: lacking, waiting: wanted)
        wantAgain()
        moveShards()
        if let next = waitingProcesses.first, !fits(next) {
            if let floor = next.floor, !mayCome(next) {
                endIdle(lacking(for: floor), true)
            } else if residency.leaving == 0, !isReclaiming {
                // No shard can go any more.
                endIdle(next.bytes, false)
            }
        } else if let index = nextSequence, case let missing = lacking(sequence: waitingSequences[index]), missing > 0,
            leavesFloor(waitingSequences[index]), !isReclaiming
        {
            // Idle processes are in its way.
            endIdle(missing, false)
        }
        let waits = !(waitingProcesses.isEmpty && waitingSequences.isEmpty && postponed.isEmpty)
        if waits, nextLook == nil {
            nextLook = loop.after(Self.lookPause) { [weak self] in
                self?.nextLook = nil
                self?.advance()
            }
        }
    }

    /// The sequence whose turn it is: none before experts' processes. While a router waits, those that came before it, and
    /// the first of each router, so that none is started for nothing.
    private var nextSequence: Int? {
        guard let first = waitingProcesses.first else { return waitingSequences.indices.first }
        guard !first.isWorker else { return nil }
        return waitingSequences.firstIndex { $0.ticket < first.ticket || !(floors[$0.owner]?.hasServed ?? true) }
    }

    /// Beside this sequence there is room for what the routers' experts need.
    private func leavesFloor(_ next: Waiting) -> Bool { sequenceBytes + next.bytes + floor <= total }

    /// Bytes that the first of those who wait lack even if all experts' shards went.
    private var lacking: Int {
        var bytes = nextSequence.map { max(0, lacking(sequence: waitingSequences[$0])) } ?? 0
        if let next = waitingProcesses.first, mayCome(next) {
            if let floor = next.floor {
                bytes += max(0, sequenceBytes + base + workerBytes + floor.own - total)
            } else {
                // Of what comes free, processes may have five sixths.
                bytes += max(0, workerBytes + next.bytes - mostWorkerBytes) * 6 / 5
            }
        }
        for key in postponed {
            bytes += max(0, (byKey[key]?.bytes ?? 0) - (residency.budget - residency.pinned))
        }
        return bytes
    }

    private func lacking(sequence next: Waiting) -> Int {
        sequenceBytes + next.bytes + base + max(workingSet, workerBytes) - total
    }

    /// Of what shards could have beyond the routers' and one layer's.
    var heldBack: Int {
        guard governor.heldBack > 0 else { return 0 }
        let routers = floors.values.reduce(0) { $0 + $1.shard }
        return Int(governor.heldBack * Double(max(0, free - routers - workingSet)))
    }

    /// Room for two reads, where that is a small part of what there is.
    private var headroom: Int {
        let two = 2 * largestExpert
        return two <= (residency.budget - residency.pinned) / 8 ? two : 0
    }

    /// What shards may take.
    var free: Int { total - daemons - MemoryCost.margin - processBytes - sequenceBytes }

    private func fits(_ next: Waiting) -> Bool {
        guard residency.used + next.bytes <= free else { return false }
        guard mayCome(next) else { return false }
        return !next.isWorker || workerBytes + next.bytes <= mostWorkerBytes
    }

    /// It is no router, or one that has a place beside the others.
    private func mayCome(_ next: Waiting) -> Bool { next.floor.map { lacking(for: $0) <= 0 } ?? true }

    /// Bytes that are missing for another router beside those there are: each of them must be able to serve a sequence when
    /// the others have none.
    private func lacking(for floor: Floor) -> Int {
        guard !floors.isEmpty else { return 0 }
        let all = Array(floors.values) + [floor]
        let experts = all.map { $0.workingSet + $0.sequence }.max() ?? 0
        return daemons + MemoryCost.margin + all.reduce(0) { $0 + $1.own } + experts - total
    }
}

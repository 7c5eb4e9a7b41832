// A stopwatch around a dispatcher: where the time of a token's expert calls goes.
import CLinux
import Wire

/// Passes everything on, and counts the nanoseconds.
final class TimedDispatcher: ExpertDispatcher {
    private let base: any ExpertDispatcher
    /// Writing rows and calls, and looking at the answers.
    private(set) var planning: UInt64 = 0
    /// In `send`, during which a callee on the same core may already compute, and `receive`; the mean of all threads.
    private(set) var receiving: UInt64 = 0
    /// Of which the last thread was alone.
    private(set) var imbalance: UInt64 = 0
    /// By thread: what it has spent since `settle`, and when its `receive` ended.
    private let spans: UnsafeMutableBufferPointer<(spent: UInt64, end: UInt64)>

    init(_ base: any ExpertDispatcher, threads: Int) {
        self.base = base
        spans = .allocate(capacity: threads)
        spans.initialize(repeating: (0, 0))
    }

    deinit { spans.deallocate() }

    func reset() { (planning, receiving, imbalance) = (0, 0, 0) }

    func plan(_ work: ExpertWork) throws(EngineError) {
        let begin = locum_monotonic_ns()
        try base.plan(work)
        planning += locum_monotonic_ns() - begin
    }

    func send(thread: Int) {
        let begin = locum_monotonic_ns()
        base.send(thread: thread)
        spans[thread].spent += locum_monotonic_ns() - begin
    }

    func receive(thread: Int) {
        let begin = locum_monotonic_ns()
        base.receive(thread: thread)
        let end = locum_monotonic_ns()
        spans[thread] = (spans[thread].spent + end - begin, end)
    }

    func settle() throws(EngineError) -> Bool {
        let begin = locum_monotonic_ns()
        defer { planning += locum_monotonic_ns() - begin }
        receiving += spans.reduce(0) { $0 + $1.spent } / UInt64(spans.count)
        for thread in spans.indices { spans[thread].spent = 0 }
        let ends = spans.map(\.end)
        imbalance += (ends.max() ?? 0) - (ends.min() ?? 0)
        return try base.settle()
    }

    var mostRows: Int { base.mostRows }
    var outputs: UnsafePointer<UnsafePointer<Float>?> { base.outputs }
    var failures: [Int: EngineError] { base.failures }
    var waited: StartCost { base.waited }
    func cost(row: Int) -> SequenceCost { base.cost(row: row) }
    var readsShards: Bool { base.readsShards }
    var wantsHints: Bool { base.wantsHints }
    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>) { base.hint(layer: layer, experts: experts) }
    func trim() { base.trim() }
    func dropRevoked() { base.dropRevoked() }
}

// A stopwatch around a dispatcher: where the time of a token's expert calls goes.
import CLinux
import Wire

/// Passes everything on, and counts the nanoseconds.
final class TimedDispatcher: ExpertDispatcher {
    private let base: any ExpertDispatcher
    /// Writing rows and calls, and looking at the answers.
    private(set) var planning: UInt64 = 0
    /// From a thread's first call of `receive` to its end, the mean of all threads.
    private(set) var receiving: UInt64 = 0
    /// Of which the last thread was alone.
    private(set) var imbalance: UInt64 = 0
    /// When each thread's `receive` began and ended.
    private let spans: UnsafeMutableBufferPointer<(begin: UInt64, end: UInt64)>

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

    func receive(thread: Int) {
        let begin = locum_monotonic_ns()
        base.receive(thread: thread)
        spans[thread] = (begin, locum_monotonic_ns())
    }

    func settle() throws(EngineError) -> Bool {
        let begin = locum_monotonic_ns()
        defer { planning += locum_monotonic_ns() - begin }
        receiving += spans.reduce(0) { $0 + ($1.end - $1.begin) } / UInt64(spans.count)
        let ends = spans.map(\.end)
        imbalance += (ends.max() ?? 0) - (ends.min() ?? 0)
        return try base.settle()
    }

    var mostRows: Int { base.mostRows }
    var outputs: UnsafePointer<UnsafePointer<Float>?> { base.outputs }
    var failures: [Int: EngineError] { base.failures }
    var waited: StartCost { base.waited }
    func cost(row: Int) -> SequenceCost { base.cost(row: row) }
    func send(thread: Int) { base.send(thread: thread) }
    var readsShards: Bool { base.readsShards }
    var wantsHints: Bool { base.wantsHints }
    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>) { base.hint(layer: layer, experts: experts) }
    func trim() { base.trim() }
    func dropRevoked() { base.dropRevoked() }
}

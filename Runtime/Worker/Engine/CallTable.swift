// The calls of one layer that are under way, per compute thread. Each thread touches its own entries alone
// between `send` and `settle`.
import CLinux
import Link

/// Calls by thread, in memory made once.
final class CallTable {
    struct Entry {
        var call: locum_call
        let socket: Int32
        let function: Int
        /// Where the function answers.
        let output: UnsafeMutableRawPointer
        /// Index into `slots` of the first pair.
        let slots: Int
        var outcome: CallOutcome?
    }

    /// The slots of all pairs in the order in which they were written into the arena.
    let slots: UnsafeMutablePointer<Int32>
    private let table: UnsafeMutablePointer<Entry>
    private let counts: UnsafeMutablePointer<Int>
    private let threads, perThread: Int

    init(threads: Int, perThread: Int, slots: Int) {
        (self.threads, self.perThread) = (threads, perThread)
        table = .allocate(capacity: threads * perThread)
        counts = .allocate(capacity: threads)
        counts.initialize(repeating: 0, count: threads)
        self.slots = .allocate(capacity: slots)
    }

    deinit {
        table.deallocate()
        counts.deallocate()
        slots.deallocate()
    }

    func clear() { counts.update(repeating: 0, count: threads) }

    /// The entries of a thread, to be changed in place.
    func entries(_ thread: Int) -> UnsafeMutableBufferPointer<Entry> {
        UnsafeMutableBufferPointer(start: table + thread * perThread, count: counts[thread])
    }

    /// Adds pairs to the lane's last call if that is of the same function.
    func extend(lane: Int, function: Int, by pairs: Int) -> Bool {
        guard counts[lane] > 0 else { return false }
        let last = table + lane * perThread + counts[lane] - 1
        guard last.pointee.function == function else { return false }
        last.pointee.call.pair_count += UInt32(pairs)
        return true
    }

    func append(_ entry: Entry, lane: Int) {
        (table + lane * perThread + counts[lane]).initialize(to: entry)
        counts[lane] += 1
    }
}

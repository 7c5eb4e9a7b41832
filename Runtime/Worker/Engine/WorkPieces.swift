// Work stealing over the pieces of one parallel part. Each thread takes its own from the front, in ascending order, as
// memory is best read; one that has none left takes the back half of what the richest still has. So no thread waits for
// longer than a piece takes, however unequally cores, memory and neighbours on the host let them go on. Who computes a
// piece changes no result.
import Synchronization

/// The pieces that are left of each thread.
final class WorkPieces: @unchecked Sendable {
    private let threads: Int
    /// A cache line for each thread.
    private let memory: UnsafeMutableRawPointer
    private static let line = 64

    /// A thread's pieces: first << 32 | end.
    private typealias Left = Atomic<UInt64>

    init(threads: Int) {
        self.threads = threads
        memory = .allocate(byteCount: threads * Self.line, alignment: Self.line)
        for thread in 0..<threads {
            (memory + thread * Self.line).bindMemory(to: Left.self, capacity: 1).initialize(to: Atomic(0))
        }
    }

    deinit { memory.deallocate() }

    /// Deals out pieces 0..<count. Before the threads begin.
    func deal(_ count: Int) {
        for thread in 0..<threads {
            let (first, end) = (count * thread / threads, count * (thread + 1) / threads)
            left(thread).pointee.store(Self.pack(first, end), ordering: .sequentiallyConsistent)
        }
    }

    /// The next piece that is this thread's to compute; nil when all are taken.
    func next(_ thread: Int) -> Int? {
        var own = left(thread).pointee.load(ordering: .relaxed)
        while case let (first, end) = Self.unpack(own), first < end {
            let (taken, seen) = exchange(thread, own, Self.pack(first + 1, end))
            if taken { return first }
            own = seen
        }
        return steal(thread)
    }

    private func steal(_ thread: Int) -> Int? {
        while true {
            var (victim, state, most) = (thread, UInt64(0), 0)
            for other in 0..<threads where other != thread {
                let seen = left(other).pointee.load(ordering: .relaxed)
                let (first, end) = Self.unpack(seen)
                if end - first > most { (victim, state, most) = (other, seen, end - first) }
            }
            if most == 0 { return nil }
            let (first, end) = Self.unpack(state)
            let cut = end - (most + 1) / 2
            guard exchange(victim, state, Self.pack(first, cut)).taken else { continue }
            // Nobody takes from a thread that has none, so nobody is in the way.
            left(thread).pointee.store(Self.pack(cut + 1, end), ordering: .relaxed)
            return cut
        }
    }

    private func exchange(_ thread: Int, _ old: UInt64, _ new: UInt64) -> (taken: Bool, seen: UInt64) {
        let (exchanged, original) = left(thread).pointee.compareExchange(
            expected: old, desired: new, ordering: .relaxed)
        return (exchanged, original)
    }

    private func left(_ thread: Int) -> UnsafeMutablePointer<Left> {
        (memory + thread * Self.line).assumingMemoryBound(to: Left.self)
    }

    private static func pack(_ first: Int, _ end: Int) -> UInt64 { UInt64(first) << 32 | UInt64(end) }
    private static func unpack(_ left: UInt64) -> (first: Int, end: Int) {
        (Int(left >> 32), Int(left & 0xffff_ffff))
    }
}

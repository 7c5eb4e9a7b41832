// Fork and join over one thread per CPU. A forward pass is a chain of short parallel parts, so the threads
// spin for some microseconds between them and only then sleep: waking a core costs more than most parts take.
import Syscall

/// Threads that run one body together; the calling thread is number 0.
final class ComputePool {
    /// Threads, the calling one included.
    let count: Int
    private let core = Core()
    private let pieces: WorkPieces

    /// How long a thread spins before it sleeps. Longer than waking it takes, short beside a token.
    private static let spinNanoseconds: UInt64 = 50_000

    private final class Core: @unchecked Sendable {
        /// Moves when there is a new body; sleepers wait on it.
        let turn = FutexWord()
        /// Threads asleep on `turn`.
        let asleep = FutexWord()
        /// Threads that have not finished the body.
        let pending = FutexWord()
        /// 1 while the caller sleeps on `pending`.
        let waiting = FutexWord()
        /// Written before `turn` moves, read after.
        var body: ((Int) -> Void)?
        var stopped = false
    }

    /// Pins the calling thread to the first CPU and starts one more for each of the others.
    init(cpus: [UInt32]) throws(SyscallError) {
        count = max(1, cpus.count)
        pieces = WorkPieces(threads: count)
        guard let first = cpus.first else { return }
        try PinnedThread.pin(to: first)
        for (index, cpu) in cpus.enumerated().dropFirst() {
            let core = core
            try PinnedThread.start(cpu: cpu, stack: PinnedThread.computeStack, name: "compute \(index)") {
                Self.serve(core, index)
            }
        }
    }

    deinit {
        core.stopped = true
        core.turn.add(1)
        core.turn.wake()
    }

    /// Runs `body` once on every thread, as `run`, over pieces 0..<count: it takes them from what it is given until there
    /// are none.
    func run(pieces count: Int, _ body: @escaping (Int, WorkPieces) -> Void) {
        let pieces = pieces
        pieces.deal(count)
        run { body($0, pieces) }
    }

    /// Runs `body` once on every thread with its number, and returns when all have finished.
    func run(_ body: @escaping (Int) -> Void) {
        guard count > 1 else { return body(0) }
        core.body = body
        core.pending.store(UInt32(count - 1))
        core.turn.add(1)
        if core.asleep.value > 0 { core.turn.wake() }
        body(0)
        while true {
            let left = core.pending.value
            if left == 0 { break }
            if core.pending.spin(while: left, nanoseconds: Self.spinNanoseconds) { continue }
            core.waiting.store(1)
            // Thread that ends after this sees `waiting`; one that ended before has changed `pending`.
            if core.pending.value == left { core.pending.sleep(while: left) }
            core.waiting.store(0)
        }
        core.body = nil
    }

    private static func serve(_ core: Core, _ index: Int) {
        var seen: UInt32 = 0
        while true {
            if !core.turn.spin(while: seen, nanoseconds: spinNanoseconds) {
                core.asleep.add(1)
                while core.turn.value == seen { core.turn.sleep(while: seen) }
                core.asleep.subtract(1)
            }
            seen &+= 1
            if core.stopped { return }
            core.body?(index)
            core.pending.subtract(1)
            if core.waiting.value == 1 { core.pending.wake() }
        }
    }
}

import Glibc
import Testing

@testable import Worker

@Suite("The compute pool")
struct ComputePoolTests {
    @Test("Every body runs once on each thread before run returns")
    func forkJoin() throws {
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(2)))
        let sums = FutexWord()
        for round in 1...20_000 {
            pool.run { sums.add(UInt32($0 + 1)) }
            let each = UInt32(pool.count * (pool.count + 1) / 2)
            try #require(sums.value == UInt32(round) &* each)
        }
    }

    @Test("Every piece is taken once, also by threads that race for the last ones", arguments: [1, 2, 3, 5])
    func pieces(threads: Int) throws {
        // More threads than processors: some are stopped in the middle of taking or stealing.
        let cpus = (0..<threads).map { TestCPUs.all[$0 % TestCPUs.all.count] }
        let pool = try ComputePool(cpus: cpus)
        for count in [0, 1, 2, 7, 64, 1000] {
            let taken = (0..<count).map { _ in FutexWord() }
            for round in 1...50 {
                pool.run(pieces: count) { thread, pieces in
                    while let piece = pieces.next(thread) { taken[piece].add(1) }
                }
                try #require(taken.allSatisfy { $0.value == UInt32(round) })
            }
        }
    }

    @Test("A thread that is held up computes one piece, and the others all the rest")
    func stealing() throws {
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(2)))
        guard pool.count == 2 else { return }
        let (held, others) = (FutexWord(), FutexWord())
        pool.run(pieces: 64) { thread, pieces in
            while pieces.next(thread) != nil {
                if thread == 1 {
                    others.add(1)
                } else {
                    held.add(1)
                    while others.value < 63 { usleep(100) }
                }
            }
        }
        #expect(held.value == 1 && others.value == 63)
    }

    @Test("Threads that fell asleep are woken, whoever finishes last")
    func sleepers() throws {
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(2)))
        let done = FutexWord()
        for round in 0..<60 {
            // Longer than the pool spins: now the workers sleep, now the caller.
            if round % 3 == 0 { usleep(500) }
            pool.run { thread in
                if thread == round % 2 { usleep(400) }
                done.add(1)
            }
            #expect(done.value == UInt32((round + 1) * pool.count))
        }
    }

    @Test("A CPU that does not exist is an error that names it")
    func noSuchCPU() {
        #expect { _ = try ComputePool(cpus: [TestCPUs.all[0], 1000]) } throws: { "\($0)".contains("CPU 1000") }
    }
}

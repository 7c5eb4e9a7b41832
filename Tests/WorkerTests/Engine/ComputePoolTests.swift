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

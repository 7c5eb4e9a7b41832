// A replay counts what a person can count by hand, and is the machine of the daemon.
import Scheduler
import Testing

@Suite struct ReplayTests {
    /// One layer of 4 experts, top 1, called in this order; a step each unless said otherwise.
    private func trace(_ calls: [UInt16], prompts: Int = 0, steps: [UInt64]? = nil) throws -> AccessTrace {
        try AccessTrace(
            header: uniformHeader(layers: 1, experts: 4, k: 1, bytes: 100),
            rows: calls.enumerated().map { index, expert in
                TraceRow(
                    sequence: 0, position: UInt32(index), step: steps?[index] ?? UInt64(index),
                    isPrompt: index < prompts, experts: [expert])
            })
    }

    @Test("Hits, misses, evictions and bytes are those of a hand count")
    func hand() throws {
        let calls: [UInt16] = [0, 1, 2, 0, 1, 3, 0, 1]
        let lru = try Replay.run(trace(calls), policy: .lru, shardBudget: 200)
        #expect(lru.hits == 0 && lru.misses == 8 && lru.evictions == 6 && lru.bytesRead == 800)
        // 0 1, 2 for 1, (0), 1 for 2, 3 for 1, (0), 1 for 3 or 0
        let belady = try Replay.run(trace(calls), policy: .belady, shardBudget: 200)
        #expect(belady.hits == 2 && belady.misses == 6)
        let all = try Replay.run(trace(calls), policy: .locum, shardBudget: 400)
        #expect(all.hits == 4 && all.misses == 4 && all.evictions == 0 && all.tokens == 8 && all.hitRate == 0.5)
    }

    @Test("Rows of one step call a function once, and prompts are counted apart")
    func steps() throws {
        let result = try Replay.run(
            trace([0, 0, 1, 0, 0], prompts: 3, steps: [0, 0, 0, 1, 1]), policy: .lru, shardBudget: 400)
        #expect(result.promptMisses == 2 && result.promptHits == 0 && result.promptBytesRead == 200)
        #expect(result.hits == 1 && result.misses == 0 && result.tokens == 2)
    }

    @Test("A warm-up fills the memory and is not counted")
    func warmup() throws {
        let calls = try trace([0, 1, 2, 0, 1, 3, 0, 1])
        let late = try Replay.run(calls, policy: .lru, shardBudget: 400, warmup: 3)
        #expect(late.tokens == 5 && late.hits == 4 && late.misses == 1 && late.bytesRead == 100)
        #expect(late.promptMisses == 3)
        let none = try Replay.run(calls, policy: .lru, shardBudget: 400, warmup: 8)
        #expect(none.tokens == 0 && none.hitRate == 1)
    }

    @Test("A layer larger than the budget is computed piece by piece")
    func tight() throws {
        let rows = (0..<20).map { TraceRow(sequence: 0, position: $0, step: UInt64($0), experts: [0, 1, 2, 3]) }
        let trace = try AccessTrace(header: uniformHeader(layers: 1, experts: 8, k: 4, bytes: 100), rows: rows)
        for policy in PolicyName.allCases {
            let result = try Replay.run(trace, policy: policy, shardBudget: 150)
            #expect(result.hits + result.misses == 80 && result.misses >= 60)
        }
        #expect(throws: ReplayError(minimumBytes: 100)) {
            try Replay.run(trace, policy: .locum, shardBudget: 99)
        }
    }

    @Test("Experts that share a function are one call")
    func grouped() throws {
        var header = uniformHeader(layers: 2, experts: 4, k: 2)
        header.functionBytes = [10, 20, 30]
        header.functionOf = [0, 0, 1, 1, 2, 2, 2, 2]
        let trace = try AccessTrace(
            header: header,
            rows: [
                TraceRow(sequence: 0, position: 0, step: 0, experts: [0, 1, 0, 3]),
                TraceRow(sequence: 0, position: 1, step: 1, experts: [1, 2, 1, 2]),
            ])
        let result = try Replay.run(trace, policy: .lru, shardBudget: 60)
        #expect(result.misses == 3 && result.hits == 2 && result.bytesRead == 60)
    }

    @Test("The predicted time is compute when all is resident, and the disk's when nothing is")
    func prediction() throws {
        let rows = (0..<200).map {
            TraceRow(sequence: 0, position: $0, step: UInt64($0), experts: [UInt16($0 % 4), UInt16($0 % 4)])
        }
        let trace = try AccessTrace(header: uniformHeader(layers: 2, experts: 4, k: 1, bytes: 1_000_000), rows: rows)
        func seconds(_ budget: Int) throws -> Double {
            try Replay.run(trace, policy: .lru, shardBudget: budget).predictedSecondsPerToken(
                computeSecondsPerToken: 1e-3, diskBytesPerSecond: 1e9, latency: 1e-4, overlap: 0.5)
        }
        // 8 of 400 layers read 1.1 ms with 0.25 ms of it hidden; then none, or all.
        let all = try seconds(8_000_000)
        #expect(abs(all - (1e-3 + 0.85e-3 * 8 / 200)) < 1e-9)
        let none = try seconds(1_000_000)
        #expect(abs(none - 2 * (0.25e-3 + 1.1e-3)) < 1e-9)
    }

    @Test("The same trace gives the same result")
    func deterministic() throws {
        let trace = try syntheticTrace(.medium, layers: 3, tokens: 200, seed: 1)
        for policy in PolicyName.allCases {
            let once = try Replay.run(trace, policy: policy, shardBudget: 90_000)
            #expect(try Replay.run(trace, policy: policy, shardBudget: 90_000) == once)
        }
    }
}

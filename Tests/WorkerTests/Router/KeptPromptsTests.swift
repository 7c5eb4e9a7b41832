// What a sequence takes over from an earlier one is what it would have computed, and nothing else changes.
import Testing
import Wire

@testable import Worker

@Suite("Kept prompts")
struct KeptPromptsTests {
    private func spec(_ prompt: [Int32], _ maxTokens: UInt32 = 24, owner: UInt64 = 0) -> GenerateSpec {
        GenerateSpec(
            prompt: .tokens(prompt), sampling: SamplingSpec(temperature: 1, seed: 11), maxTokens: maxTokens,
            topLogprobs: 2, ignoresEnd: true, owner: owner)
    }

    private func prompt(_ seed: Int, _ count: Int) -> [Int32] {
        (0..<count).map { Int32(($0 * 37 + seed * 101) % 250) }
    }

    private func cached(_ caller: BenchCaller, _ sequence: UInt64) -> UInt32? {
        for case .started(_, _, let cached) in caller.events[sequence] ?? [] { return cached }
        return nil
    }

    /// Runs it on `bench`; answers what came of it, the prompt's tokens that were not computed, and the rows that were.
    private func run(_ bench: RouterBench, _ spec: GenerateSpec) throws -> (BenchResult, cached: UInt32, rows: Int) {
        let caller = try bench.caller()
        let before = bench.model.steps.reduce(0, +)
        try caller.start(1, spec)
        for _ in 0..<1000 where caller.result(1) == nil {
            bench.turn()
            try caller.receive()
        }
        let result = try #require(caller.result(1))
        return (result, try #require(cached(caller, 1)), bench.model.steps.reduce(0, +) - before)
    }

    @Test("A conversation's next turn computes only what is new, and says the same")
    func turns() throws {
        let bench = try RouterBench()
        let first = try run(bench, spec(prompt(1, 100)))
        #expect(first.cached == 0 && first.rows == 123)
        let next = prompt(1, 100) + first.0.ids + prompt(7, 30)
        let second = try run(bench, spec(next))
        // The last token of an answer is drawn, not computed.
        #expect(second.cached == 123 && second.rows == 154 - 123 + 23)
        #expect(try second.0 == RouterBench().run(spec(next)))
    }

    @Test("The same prompt again, a common beginning, another prompt")
    func beginnings() throws {
        let bench = try RouterBench()
        _ = try run(bench, spec(prompt(1, 100)))
        let again = try run(bench, spec(prompt(1, 100)))
        #expect(again.cached == 99 && again.rows == 24)
        let common = try run(bench, spec(Array(prompt(1, 40)) + prompt(5, 40)))
        #expect(common.cached == 40)
        #expect(try common.0 == RouterBench().run(spec(Array(prompt(1, 40)) + prompt(5, 40))))
        #expect(try run(bench, spec(prompt(2, 50))).cached == 0)
        // Too few to be worth it.
        #expect(try run(bench, spec(Array(prompt(1, 12)) + prompt(6, 12))).cached == 0)
    }

    @Test("A cancelled sequence leaves what it had, a failed one nothing")
    func ends() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        try caller.start(1, spec(prompt(1, 100), 200))
        for _ in 0..<10 { bench.turn() }
        try caller.cancel(1)
        bench.turn(2)
        #expect(try run(bench, spec(prompt(1, 100))).cached == 99)
        bench.model.failure = RouterFailure("bad_shard", "gone")
        #expect(try bench.run(spec(prompt(2, 100))).failure?.code == "bad_shard")
        #expect(try run(bench, spec(prompt(2, 100))).cached == 0)
    }

    @Test("Scores of the prompt are of all its positions, kept or not")
    func scores() throws {
        let bench = try RouterBench()
        var spec = spec(prompt(1, 60))
        spec.promptScores = true
        _ = try run(bench, spec)
        let again = try run(bench, spec)
        #expect(again.cached == 0 && again.rows == 83)
    }

    @Test("A sequence that was begun elsewhere goes on from what is kept")
    func resumed() throws {
        let bench = try RouterBench()
        let whole = try run(bench, spec(prompt(1, 60)))
        var rest = spec(prompt(1, 60))
        rest.resumed = Array(whole.0.ids[..<10])
        let resumed = try run(bench, rest)
        #expect(resumed.0.ids == Array(whole.0.ids[10...]) && resumed.rows == 14 && resumed.cached == 60)
    }

    @Test("What one owner's request computed serves no other owner, and is not lost to its own by theirs")
    func owners() throws {
        let bench = try RouterBench()
        let first = try run(bench, spec(prompt(1, 100), owner: 1))
        let other = try run(bench, spec(prompt(1, 100), owner: 2))
        #expect(first.cached == 0 && other.cached == 0 && other.rows == first.rows && other.0 == first.0)
        // A longer one of another owner begins with these tokens, too.
        _ = try run(bench, spec(prompt(1, 120), owner: 3))
        // Another one's many throw out none of its.
        for seed in 10..<30 { _ = try run(bench, spec(prompt(seed, 40), owner: 2)) }
        #expect(try run(bench, spec(prompt(1, 100), owner: 1)).cached == 99)
    }

    @Test("The oldest go first, those that another begins with at once, and all when they are asked for")
    func limits() {
        final class Memory {}
        var kept = KeptPrompts<Memory>()
        func keep(_ tokens: [Int32], most: Int = 3) -> Int {
            kept.keep(.init(tokens: tokens, owner: 0, cache: Memory(), bytes: tokens.count), most: most)
        }
        #expect(keep(prompt(1, 20)) == 0 && keep(prompt(2, 30)) == 0 && keep(prompt(3, 40)) == 0)
        #expect(kept.find(prompt(1, 18), of: 0)?.count == 18)
        // What another begins with need not be kept twice.
        #expect(keep(prompt(3, 30)) == 30 && keep(prompt(3, 40)) == 40 && kept.bytes == 90)
        #expect(kept.find(prompt(1, 18), of: 0)?.count == 18)
        // 2 is the oldest now.
        #expect(keep(prompt(4, 50)) == 30 && kept.find(prompt(2, 30), of: 0) == nil)
        #expect(keep(prompt(1, 60)) == 20 && kept.bytes == 40 + 50 + 60)
        #expect(kept.give(back: 41) == 90 && kept.bytes == 60)
        #expect(kept.give(back: 1000) == 60 && kept.bytes == 0 && kept.find(prompt(1, 60), of: 0) == nil)
    }
}

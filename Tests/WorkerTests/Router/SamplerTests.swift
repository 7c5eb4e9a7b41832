import Shard
import Testing
import Wire

@testable import Worker

@Suite("Sampling")
struct SamplerTests {
    private func plan(
        _ spec: SamplingSpec, _ defaults: GenerationDefaults = GenerationDefaults()
    ) throws(RouterFailure) -> SamplingPlan { try SamplingPlan(spec, defaults: defaults) }

    private func draw(_ logits: [Float], _ spec: SamplingSpec, _ history: TokenHistory? = nil, _ position: Int = 0)
        throws
        -> Int32
    {
        var sampler = Sampler()
        let plan = try plan(spec)
        return try logits.withUnsafeBufferPointer { try sampler.draw($0, plan, history: history, position: position) }
    }

    /// Which tokens come up in many draws.
    private func support(_ logits: [Float], _ spec: SamplingSpec, draws: Int = 1000) throws -> Set<Int32> {
        var sampler = Sampler()
        let plan = try plan(spec)
        return try logits.withUnsafeBufferPointer { logits in
            try Set((0..<draws).map { try sampler.draw(logits, plan, history: nil, position: $0) })
        }
    }

    @Test("Philox gives the known answers of Random123")
    func philox() {
        let pi = SIMD4<UInt32>(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344)
        #expect(
            Philox.block(counter: .zero, key: .zero) == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        #expect(
            Philox.block(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max))
                == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        #expect(
            Philox.block(counter: pi, key: SIMD2(0xa409_3822, 0x299f_31d0))
                == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    @Test("Temperature 0 takes the best token, the lowest id of equals")
    func greedy() throws {
        #expect(try draw([0, 3, 1, 3, 2], SamplingSpec(temperature: 0)) == 1)
    }

    @Test("Logits that are no numbers are an error, not a token")
    func notFinite() {
        for logits: [Float] in [[.nan, .nan], [.infinity, 1], [-.infinity, -.infinity]] {
            #expect(throws: RouterFailure.self) { try draw(logits, SamplingSpec(temperature: 0)) }
            #expect(throws: RouterFailure.self) { try draw(logits, SamplingSpec(temperature: 1)) }
        }
        #expect(throws: RouterFailure.self) { try draw([1, .nan, 0], SamplingSpec(temperature: 1)) }
    }

    @Test("top-k keeps the best k, ties by lower id, however many tokens there are")
    func topK() throws {
        #expect(try support([1, 5, 5, 5, 0], SamplingSpec(temperature: 1, topK: 2)) == [1, 2])
        let many = (0..<1500).map { Float(($0 * 7919) % 1500) / 1500 }
        let best = Set(many.indices.sorted { many[$0] > many[$1] }.prefix(5).map { Int32($0) })
        #expect(try support(many, SamplingSpec(temperature: 5, topK: 5), draws: 200) == best)
    }

    @Test("top-p keeps the fewest tokens that reach the share, and always one")
    func topP() throws {
        // 0.5, 0.25, 0.125, 0.125
        let logits: [Float] = [0, 1, 2, 3].map { [-0.6931472, -1.3862944, -2.0794415, -2.0794415][$0] }
        #expect(try support(logits, SamplingSpec(temperature: 1, topP: 0)) == [0])
        #expect(try support(logits, SamplingSpec(temperature: 1, topP: 0.6)) == [0, 1])
        #expect(try support(logits, SamplingSpec(temperature: 1, topP: 0.8)) == [0, 1, 2])
        #expect(try support(logits, SamplingSpec(temperature: 1, topP: 1)) == [0, 1, 2, 3])
    }

    @Test("min-p drops what is less probable than a share of the best")
    func minP() throws {
        let logits: [Float] = [-0.6931472, -1.3862944, -2.0794415, -2.0794415]
        #expect(try support(logits, SamplingSpec(temperature: 1, minP: 0.4)) == [0, 1])
        #expect(try support(logits, SamplingSpec(temperature: 1, minP: 1)) == [0])
    }

    @Test("Tokens come up as often as their probability says", arguments: [Float(0.5), 1, 2])
    func frequencies(temperature: Float) throws {
        let logits: [Float] = [0, 1, -1, 2, 0.5]
        let draws = 5000
        var counts = [Double](repeating: 0, count: logits.count)
        var sampler = Sampler()
        let plan = try plan(SamplingSpec(temperature: temperature, seed: 7))
        for position in 0..<draws {
            counts[
                Int(try logits.withUnsafeBufferPointer { try sampler.draw($0, plan, history: nil, position: position) })
            ] +=
                1
        }
        let weights = logits.map { power(Double($0) / Double(temperature)) }
        let total = weights.reduce(0, +)
        let chi = zip(counts, weights).reduce(0) { sum, pair in
            let expected = pair.1 / total * Double(draws)
            return sum + (pair.0 - expected) * (pair.0 - expected) / expected
        }
        // 4 degrees of freedom: 18.5 at p = 0.001.
        #expect(chi < 18.5)
    }

    private func power(_ x: Double) -> Double {
        (1...40).reversed().reduce(1.0) { 1 + x / Double($1) * $0 }
    }

    @Test("The draw is a function of seed, choice and position")
    func determinism() throws {
        let logits = (0..<300).map { Float(($0 * 31) % 17) / 8 }
        func tokens(_ seed: UInt64, _ choice: UInt32) throws -> [Int32] {
            try (0..<50).map {
                try draw(logits, SamplingSpec(temperature: 1, topP: 0.9, seed: seed, choice: choice), nil, $0)
            }
        }
        #expect(try tokens(1, 0) == tokens(1, 0))
        #expect(try tokens(1, 0) != tokens(2, 0))
        #expect(try tokens(1, 0) != tokens(1, 1))
        #expect(try Set(tokens(1, 0)).count > 10)
    }

    @Test("Repetition divides and multiplies over prompt and output; presence and frequency subtract over the output")
    func penalties() throws {
        var history = TokenHistory(prompt: [0, 1])
        history.add(1)
        history.add(2)
        history.add(2)
        func penalized(_ spec: SamplingSpec) throws -> [Float] {
            var logits: [Float] = [4, -4, 4, 4]
            let plan = try plan(spec)
            logits.withUnsafeMutableBufferPointer { history.penalize($0, plan) }
            return logits
        }
        #expect(try penalized(SamplingSpec(repetitionPenalty: 2)) == [2, -8, 2, 4])
        #expect(try penalized(SamplingSpec(presencePenalty: 1)) == [4, -5, 3, 4])
        #expect(try penalized(SamplingSpec(frequencyPenalty: 0.5)) == [4, -4.5, 3, 4])
        #expect(try draw([4, -4, 4, 3], SamplingSpec(temperature: 0, repetitionPenalty: 2), history) == 3)
    }

    @Test("What the request leaves out comes from generation_config, then from OpenAI's defaults")
    func defaults() throws {
        let model = GenerationDefaults(doSample: true, temperature: 0.8, topP: 0.95, topK: 20, repetitionPenalty: 1.1)
        let plan = try plan(SamplingSpec(topP: 0.5), model)
        #expect(plan.temperature == Double(Float(0.8)) && plan.topP == 0.5 && plan.topK == 20 && plan.repetition == 1.1)
        let bare = try self.plan(SamplingSpec())
        #expect(bare.temperature == 1 && bare.topP == 1 && bare.topK == 0 && !bare.penalizes)
        #expect(try self.plan(SamplingSpec(), GenerationDefaults(doSample: false, temperature: 0.7)).temperature == 0)
        #expect(try self.plan(SamplingSpec(temperature: 1), GenerationDefaults(doSample: false)).temperature == 1)
    }

    @Test("Settings that no sampler can use are refused by name")
    func refusals() {
        let wrong: [(SamplingSpec, String)] = [
            (SamplingSpec(temperature: -1), "temperature"), (SamplingSpec(temperature: .nan), "temperature"),
            (SamplingSpec(topP: 1.5), "top_p"), (SamplingSpec(minP: -0.1), "min_p"),
            (SamplingSpec(repetitionPenalty: 0), "repetition_penalty"),
            (SamplingSpec(presencePenalty: .infinity), "presence_penalty"),
            (SamplingSpec(frequencyPenalty: .nan), "frequency_penalty"),
        ]
        for (spec, parameter) in wrong {
            let failure = #expect(throws: RouterFailure.self) { try plan(spec) }
            #expect(failure?.parameter == parameter && failure?.code == "invalid_parameter")
        }
    }

    @Test("Scores are log-softmax of the raw logits, alternatives best first with ties by id")
    func scores() {
        let logits: [Float] = [0, 2, 2, 1, -.infinity]
        let scorer = TokenScorer { [UInt8($0)] }
        let score = logits.withUnsafeBufferPointer { scorer.score(3, in: $0, alternatives: 3) }
        #expect(score.top.map(\.id) == [1, 2, 3])
        #expect(score.token == score.top[2])
        // log(1 + 2 e^2 + e) = log(18.49639...) = 2.917576
        #expect(abs(score.token.logprob - (1 - 2.9175756)) < 1e-5)
        let impossible = logits.withUnsafeBufferPointer { scorer.score(4, in: $0, alternatives: 0) }
        #expect(impossible.token.logprob == TokenScorer.least && impossible.top.isEmpty)
    }
}

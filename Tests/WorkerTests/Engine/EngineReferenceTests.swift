// The forward pass against what Hugging Face transformers computes from the same weights, with the limits of
// Tests/Conformance/nano/compare.py.
import Foundation
import ModelImport
import Shard
import Testing

@testable import Worker

struct Limits {
    let nmse: Double
    let kl: Double
    let expertSets: Double
    let greedy: Bool

    static let f32 = Limits(nmse: 1e-11, kl: 1e-10, expertSets: 1, greedy: true)
    static let f16 = Limits(nmse: 2e-6, kl: 1e-5, expertSets: 0.985, greedy: false)
    static let quantised = Limits(nmse: 8e-4, kl: 5e-3, expertSets: 0.93, greedy: false)
    static let mixed = Limits(nmse: 1.8e-3, kl: 5e-3, expertSets: 0.91, greedy: false)
}

@Suite("The engine agrees with Hugging Face transformers")
struct EngineReferenceTests {
    static let cases: [(String, String, Limits)] = [
        ("qwen2moe", "qwen2moe.F32", .f32),
        ("qwen2moe-norm", "qwen2moe-norm.F32", .f32),
        ("kquant-qwen2moe", "kquant-qwen2moe.F32", .f32),
        ("gguf/qwen2moe.F32.gguf", "qwen2moe.F32", .f32),
        ("gguf/qwen2moe.F16.gguf", "qwen2moe.F16", .f16),
        ("gguf/qwen2moe.Q8_0.gguf", "qwen2moe.Q8_0", .quantised),
        ("gguf/qwen2moe.Q4_0.gguf", "qwen2moe.Q4_0", .quantised),
        ("gguf/kquant-qwen2moe.Q8_0.gguf", "kquant-qwen2moe.Q8_0", .quantised),
        ("gguf/kquant-qwen2moe.Q4_0.gguf", "kquant-qwen2moe.Q4_0", .quantised),
        ("gguf/kquant-qwen2moe.Q4_K_M.gguf", "kquant-qwen2moe.Q4_K_M", .mixed),
        ("gguf/kquant-qwen2moe.Q5_K_M.gguf", "kquant-qwen2moe.Q5_K_M", .mixed),
        ("gguf/kquant-qwen2moe.Q6_K.gguf", "kquant-qwen2moe.Q6_K", .mixed),
        ("qwen3moe", "qwen3moe.F32", .f32),
        ("mixtral", "mixtral.F32", .f32),
        ("olmoe", "olmoe.F32", .f32),
        ("gguf/qwen3moe.Q4_0.gguf", "qwen3moe.Q4_0", .quantised),
        ("gguf/mixtral.Q8_0.gguf", "mixtral.Q8_0", .quantised),
        ("gguf/olmoe.Q8_0.gguf", "olmoe.Q8_0", .quantised),
    ]

    @Test("Logits, experts and greedy ids of each form lie within the limits", arguments: cases)
    func agrees(_ form: (source: String, reference: String, limits: Limits)) throws {
        let engine = try NanoModel(form.source).engine(threads: 2)
        let reference = try ReferenceArrays(
            NanoModel.nano.appendingPathComponent("references/\(form.reference).safetensors"))
        let (vocabulary, k) = (engine.config.vocabulary, engine.config.expertsPerToken)
        var (square, power, divergence) = (0.0, 0.0, 0.0)
        var (positions, sets, equalSets) = (0, 0, 0)
        for prompt in 0..<4 {
            let ids = try reference.integers("p\(prompt).ids")
            let expected = try reference.floats("p\(prompt).logits")
            let wanted = try reference.integers("p\(prompt).logit_positions")
            let experts = try reference.integers("p\(prompt).experts")
            let run = try Run(engine, ids, tracing: true)
            for (index, position) in wanted.enumerated() {
                let want = expected[index * vocabulary..<(index + 1) * vocabulary].map(Double.init)
                let got = run.logits[Int(position)].map(Double.init)
                for (a, b) in zip(want, got) {
                    square += (a - b) * (a - b)
                    power += a * a
                }
                divergence += Self.divergence(want, got)
            }
            positions += wanted.count
            for (layer, rows) in run.experts.enumerated() {
                for (row, chosen) in rows.enumerated() {
                    let start = (layer * ids.count + row) * k
                    sets += 1
                    if Set(chosen) == Set(experts[start..<start + k]) { equalSets += 1 }
                }
            }
            if form.limits.greedy {
                let greedy = try run.greedy(48)
                let expectedGreedy = try reference.integers("p\(prompt).greedy")
                #expect(greedy == expectedGreedy, "greedy ids of prompt \(prompt)")
            }
        }
        #expect(square / power <= form.limits.nmse)
        #expect(divergence / Double(positions) <= form.limits.kl)
        #expect(Double(equalSets) / Double(sets) >= form.limits.expertSets)
    }

    private static func divergence(_ a: [Double], _ b: [Double]) -> Double {
        func logSoftmax(_ x: [Double]) -> [Double] {
            let top = x.max() ?? 0
            let sum = log(x.reduce(0) { $0 + exp($1 - top) })
            return x.map { $0 - top - sum }
        }
        return zip(logSoftmax(a), logSoftmax(b)).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    }
}

/// A prompt run through an engine, chunk by chunk, with all logits kept.
final class Run {
    let engine: Engine
    let cache: KVCache
    var position = 0
    /// (positions, vocabulary)
    var logits: [[Float]] = []
    /// (MoE layers, positions, k)
    var experts: [[[Int32]]] = []

    init(_ engine: Engine, _ ids: [Int32], chunk: Int = 128, tracing: Bool = false) throws {
        self.engine = engine
        cache = try engine.makeCache()
        experts = Array(repeating: [], count: engine.config.isMoE.count { $0 })
        var start = 0
        while start < ids.count {
            let end = min(start + chunk, ids.count)
            try step(Array(ids[start..<end]), tracing: tracing)
            start = end
        }
    }

    func rows(_ ids: [Int32]) -> [BatchRow] {
        ids.enumerated().map {
            BatchRow(token: $0.element, position: position + $0.offset, cache: cache, wantsLogits: true)
        }
    }

    func step(_ ids: [Int32], tracing: Bool = false) throws {
        try engine.forward(rows(ids), tracing: tracing)
        take(0..<ids.count, tracing: tracing)
    }

    /// Takes the results of the rows that were this run's in the last batch.
    func take(_ rows: Range<Int>, tracing: Bool = false) {
        for row in rows {
            logits.append(Array(engine.logits(row: row)))
            if tracing {
                for (layer, chosen) in engine.gates(row: row).experts.enumerated() { experts[layer].append(chosen) }
            }
        }
        position += rows.count
    }

    func best() -> Int32 {
        guard let last = logits.last else { return 0 }
        var best = 0
        for (id, logit) in last.enumerated() where logit > last[best] { best = id }
        return Int32(best)
    }

    func greedy(_ count: Int) throws -> [Int32] {
        var ids: [Int32] = []
        for _ in 0..<count {
            ids.append(best())
            try step([best()])
        }
        return ids
    }
}

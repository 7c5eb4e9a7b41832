// A row's bits depend on nothing but its own sequence: not on batch, chunks, threads, company or grouping.
import Foundation
import ModelImport
import Testing

@testable import Worker

@Suite("The same bits always")
struct EngineInvarianceTests {
    static let forms = [
        "qwen2moe", "qwen2moe-norm", "gguf/qwen2moe.Q8_0.gguf", "gguf/qwen2moe.Q4_0.gguf",
        "gguf/kquant-qwen2moe.Q4_K_M.gguf",
        "gguf/qwen3moe.Q4_0.gguf",
        "gguf/mixtral.Q8_0.gguf", "olmoe",
    ]

    static func prompt(_ count: Int, seed: UInt64 = 1) -> [Int32] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int32(state >> 33 & 511)
        }
    }

    @Test("A prompt in chunks of any size, with one thread or two, gives the same logits", arguments: forms)
    func chunks(_ form: String) throws {
        let model = try NanoModel(form)
        let ids = Self.prompt(150)
        let whole = try Run(try model.engine(threads: 1), ids, chunk: 256).logits
        for (chunk, threads) in [(256, 2), (64, 1), (17, 2), (1, 1)] {
            let run = try Run(try model.engine(threads: threads), ids, chunk: chunk).logits
            #expect(run == whole, "chunks of \(chunk) on \(threads) threads")
        }
    }

    @Test("A sequence beside five others, in mixed batches, gives the same logits as alone", arguments: forms)
    func company(_ form: String) throws {
        let engine = try NanoModel(form).engine(threads: 2)
        let prompts = (0..<6).map { Self.prompt(20 + $0 * 9, seed: UInt64($0 + 7)) }
        let alone = try prompts.map { try Run(engine, $0).logits }
        let runs = try prompts.map { _ in try Run(engine, []) }
        // Chunks of different sizes, so that batches mix prefill and decode rows in changing order.
        var step = 0
        while zip(runs, prompts).contains(where: { $0.position < $1.count }) {
            var rows: [BatchRow] = []
            var parts: [(Run, Range<Int>)] = []
            for index in 0..<6 {
                let which = (index + step) % 6
                let (run, prompt) = (runs[which], prompts[which])
                let end = min(prompt.count, run.position + 1 + (which * step) % 7)
                guard run.position < end else { continue }
                parts.append((run, rows.count..<rows.count + end - run.position))
                rows += run.rows(Array(prompt[run.position..<end]))
            }
            try engine.forward(rows)
            for (run, range) in parts { run.take(range) }
            step += 1
        }
        for (run, expected) in zip(runs, alone) { #expect(run.logits == expected) }
    }

    @Test("Rows computed between two layers of others change nothing, neither theirs nor their own", arguments: forms)
    func between(_ form: String) throws {
        let engine = try NanoModel(form).engine(threads: 2)
        let (outer, inner) = (Self.prompt(40), Self.prompt(60, seed: 9))
        let alone = (try Run(engine, outer).logits, try Run(engine, inner).logits)
        let (run, other) = (try Run(engine, []), try Run(engine, []))
        engine.isRecording = true
        try engine.forward(run.rows(Array(outer[..<25])))
        let routes = engine.routes()
        run.take(0..<25)
        var (left, passes) = (inner[...], 0)
        for start in [25, 26] {
            // A decode step, then a chunk; in each pause more than one pass of the other, at last of a single row.
            let part = Array(outer[start..<(start == 25 ? 26 : 40)])
            try engine.forward(run.rows(part)) {
                for count in [20, 3, 1] where !left.isEmpty {
                    let part = Array(left.prefix(count))
                    left = left.dropFirst(count)
                    passes += 1
                    do throws(EngineError) {
                        try engine.forward(other.rows(part))
                        other.take(0..<part.count)
                    } catch {
                        Issue.record(error)
                    }
                }
            }
            run.take(0..<part.count)
        }
        #expect(passes > 1 && left.count < 40)
        while !left.isEmpty {
            let part = Array(left.prefix(7))
            left = left.dropFirst(7)
            try engine.forward(other.rows(part))
            other.take(0..<part.count)
        }
        #expect(run.logits == alone.0)
        #expect(other.logits == alone.1)
        // What is recorded of a pass is its own as well, and one that cannot be done in between changes nothing.
        let (again, third) = (try Run(engine, []), try Run(engine, []))
        try engine.forward(again.rows(Array(outer[..<25]))) {
            #expect(throws: EngineError.self) { try engine.forward([]) }
            try? engine.forward(third.rows(Array(inner[..<9])))
        }
        #expect(engine.routes() == routes)
    }

    @Test("Experts in functions of 1, 4 or all, over one layer or several, give the same logits")
    func grouping() throws {
        let ids = Self.prompt(40)
        let expected = try Run(try NanoModel("qwen2moe").engine(), ids).logits
        for (experts, layers) in [(4, 1), (5, 2), (0, 1), (0, 0)] {
            let options = ImportOptions(expertsPerFunction: experts, layersPerFunction: layers, kvType: "f32")
            let run = try Run(try NanoModel("qwen2moe", options).engine(threads: 2), ids)
            #expect(run.logits == expected, "\(experts) experts, \(layers) layers")
        }
    }

    @Test("Layers whose experts are dispatched a few rows at a time give the same logits")
    func cutLayers() throws {
        let model = try NanoModel("qwen2moe")
        let ids = Self.prompt(50)
        let expected = try Run(try model.engine(), ids).logits
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(2)))
        let dispatcher = try LocalDispatcher(
            model.experts, model.config, owner: model, threads: pool.count, mostRows: 7)
        let engine = try Engine(shard: model.router, config: model.config, pool: pool, dispatcher: dispatcher)
        #expect(try Run(engine, ids).logits == expected)
    }

    @Test("Keys and values in f16 are read as stored: chunks give the same logits, and others than f32")
    func halfPrecisionCache() throws {
        let model = try NanoModel("qwen2moe", ImportOptions(kvType: "f16"))
        let ids = Self.prompt(70)
        let whole = try Run(try model.engine(), ids).logits
        #expect(try Run(try model.engine(threads: 2), ids, chunk: 9).logits == whole)
        #expect(try Run(try NanoModel("qwen2moe").engine(), ids).logits != whole)
    }

    @Test("So are those in q8_0, near the numbers of f32")
    func quantisedCache() throws {
        let ids = Self.prompt(70)
        let model = try NanoModel("kquant-qwen2moe", ImportOptions(kvType: "q8_0"))
        let whole = try Run(try model.engine(), ids).logits
        #expect(try Run(try model.engine(threads: 2), ids, chunk: 9).logits == whole)
        let exact = try Run(try NanoModel("kquant-qwen2moe").engine(), ids).logits
        var (square, power) = (0.0, 0.0)
        for (row, other) in zip(whole, exact) {
            for (a, b) in zip(row, other) {
                square += Double(a - b) * Double(a - b)
                power += Double(b) * Double(b)
            }
        }
        #expect(square > 0 && square / power < 2e-3)
    }

    @Test("A batch that cannot be is refused, and the engine goes on")
    func refusals() throws {
        let engine = try NanoModel("qwen2moe").engine()
        let cache = try engine.makeCache(capacity: 8)
        func refuses(_ rows: [BatchRow]) {
            #expect { try engine.forward(rows) } throws: { ($0 as? EngineError)?.code == "invalid_batch" }
        }
        refuses([])
        refuses([BatchRow(token: -1, position: 0, cache: cache, wantsLogits: true)])
        refuses([BatchRow(token: 512, position: 0, cache: cache, wantsLogits: true)])
        refuses([BatchRow(token: 1, position: 8, cache: cache, wantsLogits: true)])
        refuses([BatchRow(token: 1, position: -1, cache: cache, wantsLogits: true)])
        let row = BatchRow(token: 1, position: 0, cache: cache, wantsLogits: true)
        refuses(Array(repeating: row, count: Engine.mostRows + 1))
        try engine.forward([row])
        let finite = engine.logits(row: 0).allSatisfy(\.isFinite)
        #expect(finite)
    }
}

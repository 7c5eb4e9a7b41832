// The embedded model against its own reference numbers, made with transformers in float32.
import Foundation
import Kernels
import Testing

@testable import Worker

@Suite("tales-moe agrees with its reference numbers")
struct TalesReferenceTests {
    private struct Reference: Decodable {
        struct Prompt: Decodable {
            let name: String
            let ids: [Int32]
            let top5_last8: [Top]
            let greedy64: [Int32]
        }
        struct Top: Decodable {
            let position: Int
            let ids: [Int32]
            let logprobs: [Double]
        }
        let prompts: [Prompt]
    }

    @Test("Best tokens, their log-probabilities and greedy continuations")
    func agrees() throws {
        let folder = NanoModel.root.appendingPathComponent("Runtime/Models/tales-moe")
        let data = try Data(contentsOf: folder.appendingPathComponent("reference.json"))
        let engine = try NanoModel(folder).engine(threads: 2)
        for prompt in try JSONDecoder().decode(Reference.self, from: data).prompts {
            let run = try Run(engine, prompt.ids)
            for top in prompt.top5_last8 {
                let logits = run.logits[top.position]
                let norm = logits.withUnsafeBufferPointer { buffer in
                    buffer.baseAddress.map { Kernels.logSumExp($0, count: buffer.count) } ?? 0
                }
                for (id, logprob) in zip(top.ids, top.logprobs) {
                    #expect(abs(Double(logits[Int(id)]) - norm - logprob) < 1e-4, "\(prompt.name), id \(id)")
                }
            }
            // The smallest margin in the file is far above what float32 sums differ by.
            #expect(try run.greedy(prompt.greedy64.count) == prompt.greedy64, "\(prompt.name)")
        }
    }
}

// A trace comes back as it was written, and nothing that a stranger sends may do more than be refused.
import Scheduler
import SeededRandom
import Testing

@Suite struct AccessTraceTests {
    private func sample(experts: Int = 4) throws -> AccessTrace {
        var header = TraceHeader(
            model: "näh-moe", layers: 2, experts: experts, expertsPerToken: 2, functionBytes: [10, 1 << 40, 0],
            functionOf: (0..<2 * experts).map { $0 % 3 }, fixedBytes: 12345, computeNanoseconds: 678)
        header.model += "!"
        let last = UInt16(experts - 1)
        return try AccessTrace(
            header: header,
            rows: [
                TraceRow(sequence: 0, position: 0, step: 0, isPrompt: true, experts: [0, 1, last, 2]),
                TraceRow(sequence: .max, position: 300, step: .max, experts: [last, 0, 0, 1]),
            ])
    }

    @Test("A trace comes back as it was written", arguments: [4, 256, 257, 4096])
    func roundTrip(_ experts: Int) throws {
        let trace = try sample(experts: experts)
        #expect(try AccessTrace(decoding: trace.encoded) == trace)
    }

    @Test("The recorded trace is what the encoder writes, and small")
    func recorded() throws {
        let trace = try Recorded.tales()
        #expect(trace.header.model == "tales-moe" && trace.header.layers == 6 && trace.header.experts == 32)
        #expect(trace.rows.count { !$0.isPrompt } == 3000)
        let bytes = try trace.encoded
        #expect(bytes.count < 100_000)
        #expect(try AccessTrace(decoding: bytes) == trace)
    }

    @Test("A trace cut off anywhere but between records is refused")
    func truncation() throws {
        let trace = try sample()
        let bytes = try trace.encoded
        let encoder = try TraceEncoder(trace.header)
        var whole: Set<Int> = [encoder.prefix.count]
        whole.insert(encoder.prefix.count + (try encoder.record(trace.rows[0])).count)
        for length in bytes.indices where !whole.contains(length) {
            #expect(throws: TraceError.self, "\(length) bytes") { try AccessTrace(decoding: Array(bytes[..<length])) }
        }
        for length in whole { #expect(throws: Never.self) { try AccessTrace(decoding: Array(bytes[..<length])) } }
    }

    @Test("Random bytes and random damage never do more than be refused")
    func damage() throws {
        var random = SplitMix64(3)
        let bytes = try sample().encoded
        var refused = 0
        for round in 0..<20_000 {
            var damaged = bytes
            if round % 4 == 0 {
                damaged = Array(bytes[..<6]) + (0..<random.below(200)).map { _ in UInt8(random.below(256)) }
            } else {
                for _ in 0...random.below(4) { damaged[random.below(bytes.count)] = UInt8(random.below(256)) }
            }
            do {
                let trace = try AccessTrace(decoding: damaged)
                // What was accepted can be used.
                _ = try? Replay.run(trace, policy: .locum, shardBudget: 1 << 41)
            } catch {
                refused += 1
                #expect(!error.reason.isEmpty)
            }
        }
        #expect(refused > 10_000)
    }

    @Test("Impossible numbers are refused by name")
    func impossible() throws {
        let good = try sample()
        let edits: [(String, (inout TraceHeader) -> Void)] = [
            ("0 layers", { $0.layers = 0 }), ("2000 layers", { $0.layers = 2000 }), ("experts", { $0.experts = 5000 }),
            ("per token", { $0.expertsPerToken = 0 }), ("per token", { $0.expertsPerToken = 5 }),
            ("functions", { $0.functionBytes = [] }), ("bytes", { $0.functionBytes[0] = -1 }),
            ("map", { $0.functionOf.removeLast() }), ("function 3", { $0.functionOf[0] = 3 }),
            ("fixed", { $0.fixedBytes = -1 }), ("compute", { $0.computeNanoseconds = .max }),
            ("name", { $0.model = String(repeating: "x", count: 2000) }),
        ]
        for (word, edit) in edits {
            var header = good.header
            edit(&header)
            let error = #expect(throws: TraceError.self) { try TraceEncoder(header) }
            #expect(error?.reason.contains(word) == true, "\(word): \(error?.reason ?? "")")
        }
        let encoder = try TraceEncoder(good.header)
        for experts: [UInt16] in [[0, 1, 2], [0, 1, 2, 4]] {
            #expect(throws: TraceError.self) {
                try encoder.record(TraceRow(sequence: 0, position: 0, step: 0, experts: experts))
            }
        }
    }

    @Test("An error names the place")
    func places() throws {
        var bytes = try sample().encoded
        bytes[4] = 9
        #expect(throws: TraceError("version 9; this program reads 1", at: 4)) { try AccessTrace(decoding: bytes) }
        #expect(throws: TraceError("this is no trace of locum", at: 0)) { try AccessTrace(decoding: [1, 2, 3, 4]) }
    }
}

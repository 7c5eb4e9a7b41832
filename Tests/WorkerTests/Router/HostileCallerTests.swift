// Bytes of strangers at a router: whatever a caller sends, the router goes on, a well-behaved caller's answer is
// the same, and nothing is left behind. What single frames can do to their readers is `make fuzz`'s to find.
import Glibc
import Syscall
import SeededRandom
import Testing
import Wire

@testable import Worker

@Suite struct HostileCallerTests {
    @Test("Frames that are cut, altered, mixed or made up end at most their caller")
    func frames() throws {
        var random = SplitMix64(103)
        let bench = try RouterBench(context: 64)
        let spec = GenerateSpec(prompt: .tokens([1, 2, 3]), maxTokens: 20, topLogprobs: 2, ignoresEnd: true)
        let expected = try RouterBench(context: 64).run(spec)
        for _ in 0..<20 {
            let good = try bench.caller()
            try good.start(1, spec)
            let bad = try bench.caller()
            for _ in 0..<20 {
                let frame = alter(valid(&random), &random)
                guard (try? Seqpacket.send(bad.socket.raw, frame, wait: false)) != nil else { break }
                if Bool.random(using: &random) { bench.turn() }
            }
            for _ in 0..<1000 where good.result(1) == nil {
                bench.turn()
                try good.receive()
            }
            #expect(good.result(1) == expected)
            shutdown(bad.socket.raw, Int32(SHUT_RDWR))
            shutdown(good.socket.raw, Int32(SHUT_RDWR))
            bench.turn(2)
            #expect(bench.meter.active == 0 && bench.server.callers.isEmpty && !bench.over)
        }
    }

    private func valid(_ random: inout SplitMix64) -> [UInt8] {
        let prompts: [Prompt] = [
            .tokens([5, 6]), .text("a b<|im_end|>"),
            .chat(
                [ChatTurn(role: "user", content: "é")],
                settings: [
                    NamedSetting("a", .boolean(true)), NamedSetting("b", .integer(-1)), NamedSetting("c", .text("é")),
                    NamedSetting("d", .none),
                ]),
        ]
        let spec = GenerateSpec(
            prompt: prompts.randomElement(using: &random) ?? .tokens([1]),
            sampling: SamplingSpec(temperature: 1, topP: 0.9, topK: 5, minP: 0.1, repetitionPenalty: 1.1, seed: 3),
            maxTokens: UInt32.random(in: 0...70, using: &random), stop: ["x", "yz"], topLogprobs: 1,
            promptScores: Bool.random(using: &random), resumed: Bool.random(using: &random) ? [7] : [], trace: true)
        let command: RouterCommand = Int.random(in: 0...4, using: &random) == 0 ? .cancel : .generate(spec)
        return RouterFrame.cut(command, sequence: UInt64.random(in: 1...4, using: &random))[0].frame
    }

    private func alter(_ frame: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var frame = frame
        switch Int.random(in: 0...4, using: &random) {
        case 0: break
        case 1: frame.removeLast(Int.random(in: 0..<frame.count, using: &random))
        case 2:
            frame = (0..<Int.random(in: 1...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        default:
            // The parts' own bytes begin behind version, number, flag and length.
            for _ in 0...Int.random(in: 0...3, using: &random) {
                let place = Int.random(in: 0..<frame.count, using: &random)
                frame[place] = Bool.random(using: &random) ? .random(in: 0...255, using: &random) : 255
            }
        }
        return frame
    }
}

import Glibc
import Syscall
import SeededRandom
import Testing
import Wire

@testable import Worker

@Suite("Steps, parts and outboxes")
struct RouterPlumbingTests {
    private func need(_ rows: Int, logits: Bool = false) -> StepPlan.Need { StepPlan.Need(rows: rows, logits: logits) }

    @Test("Running answers get their row whatever prompts wait")
    func decodeFirst() {
        let needs = [need(5000), need(1), need(5000), need(1), need(5000)]
        let shares = StepPlan.shares(needs, first: 3, besideAnswers: 31)
        #expect(shares[1] == 1 && shares[3] == 1)
        #expect(shares.reduce(0, +) == 33)
        #expect(shares[0] >= 10 && shares[2] >= 10 && shares[4] >= 10)
        #expect(StepPlan.shares(needs, first: 0, besideAnswers: 0) == [0, 1, 0, 1, 0])
        #expect(StepPlan.shares([need(5000)], first: 0, besideAnswers: 3) == [StepPlan.mostRows])
    }

    @Test(
        "Prompts at most double the mean time between an answer's tokens, and have half of the time",
        arguments: [0.02, 0.3, 5])
    func pace(_ rowMilliseconds: Double) {
        var (pace, random) = (StepPace(), SplitMix64(104))
        for alone in [1.0, 30] {
            var (steps, total, prompts, longest) = (0.0, 0.0, 0.0, 0.0)
            for step in 0..<4000 {
                let rows = pace.rows
                let reading = rowMilliseconds * Double(rows)
                let time = (alone + reading) * Double.random(in: 0.9...1.1, using: &random)
                pace.took(UInt64(time * 1e6), promptRows: rows)
                if step < 1000 { continue }
                steps += 1
                total += time
                prompts += reading
                longest = max(longest, reading)
            }
            #expect(total / steps <= 2 * alone * 1.02, "a row of \(rowMilliseconds) ms beside \(alone) ms")
            #expect(longest <= 200 * 1.3)
            // Where all rows that a step can have take little, there is nothing to gain.
            #expect(prompts > 0.4 * total || longest >= rowMilliseconds * 255)
        }
    }

    @Test("Any mixture keeps the limits, and nobody waits for ever")
    func limits() {
        var random = SplitMix64(105)
        for _ in 0..<40 {
            let needs = (0..<Int.random(in: 1...150, using: &random)).map { _ in
                need([1, 1, 2, 200, 4000].randomElement(using: &random) ?? 1, logits: Bool.random(using: &random))
            }
            var served: Set<Int> = []
            for first in needs.indices {
                let shares = StepPlan.shares(needs, first: first, besideAnswers: 100)
                #expect(shares.reduce(0, +) <= StepPlan.mostRows)
                #expect(zip(shares, needs).allSatisfy { $0 >= 0 && $0 <= $1.rows })
                let scored = zip(shares, needs).filter { $1.logits && $1.rows > 1 }.reduce(0) { $0 + $1.0 }
                #expect(scored <= StepPlan.mostPromptLogits)
                served.formUnion(shares.indices.filter { shares[$0] > 0 })
            }
            // With 256 writers readers have to wait for one to end.
            if needs.count(where: { $0.rows == 1 }) < 200 { #expect(served.count == needs.count) }
        }
    }

    @Test("Commands in parts come together; one that is too long is refused alone")
    func parts() throws {
        var parts = CommandParts(context: 16)
        let piece = [UInt8](repeating: 7, count: 40_000)
        #expect(try parts.add(RouterFrame(sequence: 1, last: false, part: [1, 2])) == .incomplete)
        for _ in 0..<40 { #expect(try parts.add(RouterFrame(sequence: 2, last: false, part: piece)) == .incomplete) }
        #expect(try parts.add(RouterFrame(sequence: 2, last: true, part: piece)) == .tooLong)
        #expect(try parts.add(RouterFrame(sequence: 1, last: true, part: [3])) == .complete([1, 2, 3]))
        #expect(try parts.add(RouterFrame(sequence: 2, last: true, part: [9])) == .complete([9]))
    }

    @Test("Many incomplete commands stay within twice the room of one, then break the protocol")
    func partsBounded() throws {
        var parts = CommandParts(context: 16)
        let piece = [UInt8](repeating: 7, count: 40_000)
        for round in 0..<3 {
            for sequence in 0..<UInt64(CommandParts.mostEntries) {
                _ = try parts.add(RouterFrame(sequence: sequence, last: false, part: piece))
            }
            #expect(parts.heldBytes <= 2 * parts.mostBytes, "round \(round)")
        }
        #expect(throws: WireError.self) { try parts.add(RouterFrame(sequence: 999, last: false, part: [1])) }
    }

    @Test("What a slow reader does not take waits and comes in order; a cancelled sequence's messages do not")
    func outbox() throws {
        let (mine, theirs) = try Seqpacket.pair()
        var outbox = Outbox()
        let long = String(repeating: "x", count: 120_000)
        for index in 0..<6 {
            outbox.add(.failed(code: "\(index)", parameter: "", message: long), sequence: UInt64(index % 2))
        }
        outbox.add(.used(SequenceCost(expertNanoseconds: 5), last: false), sequence: 1)
        try outbox.flush(to: mine.raw)
        #expect(outbox.isFull && !outbox.isEmpty)
        outbox.drop(1)
        var assembler = RouterAssembler()
        var codes: [String] = []
        for _ in 0..<100 {
            while let packet = try? Seqpacket.receive(theirs.raw, wait: false) {
                guard let whole = try assembler.add(try RouterFrame(frame: packet.bytes)) else { continue }
                switch try RouterEvent(frame: whole) {
                case .failed(let code, _, let message):
                    #expect(message == long)
                    codes.append(code)
                case .used: codes.append("cost")
                default: break
                }
            }
            try outbox.flush(to: mine.raw)
        }
        #expect(outbox.isEmpty && !outbox.isFull)
        // 0 and 1 were sent or begun when 1 was dropped; later ones of sequence 1 were not.
        #expect(codes.filter { ["0", "2", "4"].contains($0) } == ["0", "2", "4"])
        #expect(!codes.contains("5"))
        #expect(codes.last == "cost", "what was spent is told whoever wants no answer any more")
    }
}

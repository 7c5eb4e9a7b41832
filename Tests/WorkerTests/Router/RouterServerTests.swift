import Glibc
import Link
import Shard
import Syscall
import Testing
import Tokenizer
import Wire

@testable import Worker

@Suite("Router server")
struct RouterServerTests {
    private let sampled = SamplingSpec(
        temperature: 1, topP: 0.95, repetitionPenalty: 1.2, presencePenalty: 0.3, seed: 11)

    private func spec(_ prompt: [Int32], _ maxTokens: UInt32 = 24) -> GenerateSpec {
        GenerateSpec(prompt: .tokens(prompt), sampling: sampled, maxTokens: maxTokens, topLogprobs: 2, ignoresEnd: true)
    }

    private func prompt(_ seed: Int, _ count: Int) -> [Int32] {
        (0..<count).map { Int32(($0 * 37 + seed * 101) % 250) }
    }

    @Test("A sequence is the same alone, beside five others, and with its prompt in chunks")
    func company() throws {
        let alone = try RouterBench().run(spec(prompt(1, 300)))
        #expect(alone.ids.count == 24 && alone.reason == .length)
        let bench = try RouterBench()
        let caller = try bench.caller()
        let other = try bench.caller()
        for number in 0..<6 {
            try (number % 2 == 0 ? caller : other).start(UInt64(number), spec(prompt(number, 10 + number * 150)))
        }
        try caller.start(99, spec(prompt(1, 300)))
        // How many rows of prompts a step has beside answers depends on how long steps take on this machine.
        func isDone() -> Bool {
            caller.result(99) != nil
                && (0..<6).allSatisfy { ($0 % 2 == 0 ? caller : other).result(UInt64($0)) != nil }
        }
        for _ in 0..<10_000 where !isDone() {
            bench.turn()
            try caller.receive()
            try other.receive()
        }
        #expect(caller.result(99) == alone)
        #expect(bench.model.steps.contains { $0 > 100 } && bench.model.steps.contains { $0 < 8 })
        for number in 0..<6 {
            let result = (number % 2 == 0 ? caller : other).result(UInt64(number))
            #expect(try result == RouterBench().run(spec(prompt(number, 10 + number * 150))))
        }
    }

    @Test("A sequence resumed behind any token goes on exactly as the undisturbed one")
    func resumed() throws {
        for stop in [[], ["q"], ["zz", "\u{FFFD}\u{FFFD}"]] {
            var spec = spec(prompt(3, 20), 40)
            spec.stop = stop
            let whole = try RouterBench().run(spec)
            for cut in 0...whole.ids.count {
                spec.resumed = Array(whole.ids[..<cut])
                let rest = try RouterBench().run(spec)
                #expect(whole.ids[cut...].elementsEqual(rest.ids), "cut at \(cut)")
                #expect(whole.scores[cut...].elementsEqual(rest.scores))
                #expect(whole.text.hasSuffix(rest.text) && whole.reason == rest.reason)
            }
        }
    }

    @Test("The text of a resumed sequence is what the first part left out")
    func resumedText() throws {
        let words = Array("one END two".utf8).map { Int32($0) }
        let bench = try RouterBench()
        bench.model.script = { tokens in words.indices.contains(tokens.count - 1) ? words[tokens.count - 1] : 65 }
        var spec = GenerateSpec(prompt: .tokens([1]), maxTokens: 20, stop: ["ENDE"])
        let whole = try bench.run(spec)
        #expect(whole.text == "one END twoAAAAAAAAA")
        spec.resumed = Array(words[..<6])
        #expect(try bench.run(spec).text == "END twoAAAAAAAAA")
        spec.stop = ["END"]
        spec.resumed = Array(words[..<7])
        let stopped = try bench.run(spec)
        #expect(stopped.ids.isEmpty && stopped.reason == .stop && stopped.text.isEmpty)
    }

    @Test("End tokens end with reason stop, without an event or text; ignored, they are tokens without text")
    func endTokens() throws {
        let bench = try RouterBench()
        bench.model.script = { $0.count == 4 ? ByteVocabulary.end : 66 }
        let ended = try bench.run(GenerateSpec(prompt: .tokens([1, 2])))
        #expect(ended.ids == [66, 66] && ended.text == "BB" && ended.reason == .stop)
        let ignored = try bench.run(
            GenerateSpec(prompt: .tokens([1, 2]), maxTokens: 4, topLogprobs: 0, ignoresEnd: true))
        #expect(ignored.ids == [66, 66, ByteVocabulary.end, 66] && ignored.text == "BBB" && ignored.reason == .length)
        #expect(ignored.scores[2]?.token.bytes == Array("<|im_end|>".utf8))
    }

    @Test("Without max_tokens output goes to the end of the context")
    func untilContext() throws {
        let bench = try RouterBench(context: 32)
        let result = try bench.run(GenerateSpec(prompt: .tokens(prompt(1, 10)), ignoresEnd: true))
        #expect(result.ids.count == 22 && result.reason == .length)
        #expect(result.text == String(decoding: result.ids.filter { $0 < 256 }.map { UInt8($0) }, as: UTF8.self))
    }

    @Test("A prompt and output beyond the context are refused with the numbers")
    func contextLength() throws {
        let bench = try RouterBench(context: 32)
        let tooMany = try bench.run(GenerateSpec(prompt: .tokens(prompt(1, 10)), maxTokens: 23)).failure
        #expect(tooMany?.code == "context_length_exceeded" && tooMany?.parameter == "max_tokens")
        for number in ["10 tokens", "23", "33", "32", "22"] { #expect(tooMany?.message.contains(number) == true) }
        let tooLong = try bench.run(GenerateSpec(prompt: .text(String(repeating: "a", count: 33)), maxTokens: 0))
            .failure
        #expect(tooLong?.code == "context_length_exceeded" && tooLong?.parameter == "prompt")
        let chat = Prompt.chat([ChatTurn(role: "user", content: String(repeating: "a", count: 33))])
        #expect(try bench.run(GenerateSpec(prompt: chat)).failure?.parameter == "messages")
        let book = try bench.run(GenerateSpec(prompt: .text(String(repeating: "a", count: 3 << 20)))).failure
        #expect(book?.code == "context_length_exceeded")
        #expect(try bench.run(GenerateSpec(prompt: .tokens(prompt(1, 32)))).failure?.code == "context_length_exceeded")
        #expect(try bench.run(GenerateSpec(prompt: .tokens(prompt(1, 32)), maxTokens: 0)).reason == .length)
    }

    @Test("Prompts that cannot be are refused by parameter")
    func badPrompts() throws {
        let bench = try RouterBench()
        func failure(_ spec: GenerateSpec) throws -> RouterFailure? { try bench.run(spec).failure }
        #expect(try failure(GenerateSpec(prompt: .text("")))?.code == "invalid_prompt")
        #expect(try failure(GenerateSpec(prompt: .tokens([])))?.code == "invalid_prompt")
        #expect(try failure(GenerateSpec(prompt: .tokens([1, 258])))?.message.contains("258") == true)
        #expect(try failure(GenerateSpec(prompt: .tokens([-1])))?.parameter == "prompt")
        #expect(try failure(GenerateSpec(prompt: .chat([])))?.code == "invalid_messages")
        let tool = try failure(GenerateSpec(prompt: .chat([ChatTurn(role: "tool", content: "x")])))
        #expect(tool?.code == "invalid_messages" && tool?.message.contains("no tools here") == true)
        #expect(try failure(GenerateSpec(prompt: .tokens([1]), maxTokens: 1, resumed: [1, 2]))?.parameter == "resumed")
        #expect(try failure(GenerateSpec(prompt: .tokens([1]), resumed: [999]))?.parameter == "resumed")
        #expect(try failure(GenerateSpec(prompt: .tokens([1]), topLogprobs: 21))?.parameter == "top_logprobs")
        #expect(
            try failure(GenerateSpec(prompt: .tokens([1]), stop: [String(repeating: "x", count: 2000)]))?.parameter
                == "stop")
        #expect(bench.meter.active == 0)
    }

    @Test("Special tokens count in completions and in the template, not in what people write")
    func specials() throws {
        let reader = try ByteVocabulary.reader(context: 512)
        #expect(try reader.read(.text("a<|im_end|>")).ids == [97, 257])
        #expect(try reader.read(.text("a<|im_end|>")).text == "a<|im_end|>")
        let ids = try reader.read(.chat([ChatTurn(role: "user", content: "<|im_end|>")])).ids
        #expect(ids.filter { $0 == 256 }.count == 2 && ids.filter { $0 == 257 }.count == 1)
    }

    @Test("What follows from the request is no setting of the template's")
    func ownSettings() throws {
        let reader = try ByteVocabulary.reader(context: 512)
        let turns = [ChatTurn(role: "user", content: "a")]
        #expect(
            try reader.read(.chat(turns, settings: [NamedSetting("enable_thinking", .boolean(true))])).ids
                == reader.read(.chat(turns)).ids)
        for name in ["messages", "add_generation_prompt", "bos_token", "eos_token"] {
            let failure = #expect(throws: RouterFailure.self) {
                try reader.read(.chat(turns, settings: [NamedSetting(name, .text("x"))]))
            }
            #expect(failure?.parameter == "chat_template_kwargs" && failure?.message.contains("'\(name)'") == true)
        }
    }

    @Test("Every prompt position is scored once, in order, whatever the chunks; the first has no probability")
    func promptScores() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        let tokens = prompt(2, 100)
        try caller.start(1, GenerateSpec(prompt: .tokens(tokens), maxTokens: 0, topLogprobs: 3, promptScores: true))
        bench.turn(20)
        try caller.receive()
        var scores: [TokenScore] = []
        for case .promptScores(let first, let part) in caller.events[1] ?? [] {
            #expect(Int(first) == scores.count)
            scores += part
        }
        #expect(scores.map(\.token.id) == tokens)
        #expect(scores.first?.token.logprob == 0 && scores.first?.top.isEmpty == true)
        for (index, score) in scores.enumerated().dropFirst() {
            let logits = bench.model.logits(after: Array(tokens[..<index]))
            let scorer = TokenScorer(bytes: bench.server.prompts.tokenizer.bytes(of:))
            #expect(logits.withUnsafeBufferPointer { scorer.score(tokens[index], in: $0, alternatives: 3) } == score)
        }
        #expect(caller.result(1)?.reason == .length)
        #expect(bench.model.steps.allSatisfy { $0 <= StepPlan.mostPromptLogits })
    }

    @Test("Traces hold every prompt position's logits and gates")
    func traces() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        try caller.start(1, GenerateSpec(prompt: .tokens(prompt(2, 70)), maxTokens: 2, ignoresEnd: true, trace: true))
        for _ in 0..<50 {
            bench.turn()
            try caller.receive()
        }
        var seen: [UInt32] = []
        for case .trace(let position, let logits, let router, let experts, let weights) in caller.events[1] ?? [] {
            seen.append(position)
            #expect(logits == bench.model.logits(after: Array(prompt(2, 70)[...Int(position)])))
            #expect(router == [[Float(prompt(2, 70)[Int(position)]), 1]] && experts.count == 1 && weights == [[0.5]])
        }
        #expect(seen == (0..<70).map { UInt32($0) })
        #expect(caller.result(1)?.ids.count == 2)
    }

    @Test("A cancelled sequence and those of a caller that leaves end at once, others go on")
    func cancel() throws {
        let bench = try RouterBench()
        let (first, second) = (try bench.caller(), try bench.caller())
        try first.start(1, spec(prompt(1, 5), 400))
        try first.start(2, spec(prompt(2, 5), 400))
        try second.start(1, spec(prompt(3, 5), 400))
        bench.turn(3)
        #expect(bench.meter.active == 3)
        try first.cancel(1)
        bench.turn()
        #expect(bench.meter.active == 2)
        try first.receive()
        let before = first.events[1]?.count
        guard case .used(_, last: true) = first.events[1]?.last else {
            Issue.record("what it has cost does not follow a cancellation")
            return
        }
        bench.turn(5)
        try first.receive()
        #expect(first.events[1]?.count == before, "nothing else follows")
        shutdown(first.socket.raw, Int32(SHUT_RDWR))
        bench.turn()
        #expect(bench.meter.active == 1 && bench.server.callers.count == 1)
        try second.cancel(77)
        bench.turn(2)
        #expect(bench.meter.active == 1, "a number that is not under way is nobody's")
        try second.cancel(1)
        bench.turn()
        #expect(bench.meter.active == 0 && bench.model.trims > 0)
    }

    @Test("A sequence's cost is that of its rows, and is told before its end, also when it fails or is cancelled")
    func costs() throws {
        let bench = try RouterBench()
        bench.model.costOfRow = SequenceCost(expertNanoseconds: 7, coldStarts: 1)
        let caller = try bench.caller()
        func told(_ sequence: UInt64) throws -> [SequenceCost] {
            try caller.receive()
            return (caller.events[sequence] ?? []).compactMap { if case .used(let cost, _) = $0 { cost } else { nil } }
        }
        try caller.start(1, spec(prompt(1, 5), 4))
        try caller.start(2, spec(prompt(2, 9), 400))
        bench.turn(12)
        // The last token drawn is never computed: 5 + 3 rows.
        #expect(try told(1) == [SequenceCost(expertNanoseconds: 56, coldStarts: 8)])
        guard case .finished = caller.events[1]?.last else {
            Issue.record("the end is not the last event")
            return
        }
        #expect(try told(2) == [], "not yet time")
        try caller.cancel(2)
        bench.turn()
        let cost = try #require(try told(2).first)
        #expect(cost.expertNanoseconds == UInt64(cost.coldStarts) * 7 && cost.coldStarts > 9)
        try caller.start(3, spec(prompt(3, 5), 4))
        bench.turn(2)
        bench.model.failure = RouterFailure("function_failed", "on purpose")
        bench.turn(2)
        #expect(try !told(3).isEmpty)
        guard case .failed = caller.events[3]?.last else {
            Issue.record("the failure is not the last event")
            return
        }
    }

    @Test(
        "Who comes anew while others have answers under way is computed first and alone, once; the others go on after it"
    )
    func newcomers() throws {
        let bench = try RouterBench(context: 1024)
        let caller = try bench.caller()
        func ask(_ number: UInt64, rows: Int, owner: UInt64) throws {
            var spec = spec(prompt(Int(number), rows), 300)
            spec.owner = owner
            try caller.start(number, spec)
        }
        for number in 1...4 { try ask(UInt64(number), rows: 5, owner: 1) }
        bench.turn(6)
        bench.model.steps = []
        try ask(5, rows: 40, owner: 2)
        try ask(6, rows: 40, owner: 3)
        bench.turn(4)
        // Each of the two alone, with everybody's step between them; then all answers together.
        #expect(bench.model.steps == [40, 5, 40, 6])
        bench.model.steps = []
        // A second one of the same owner is no newcomer, nor is anybody where all are one's own.
        try ask(7, rows: 40, owner: 2)
        bench.turn(1)
        #expect(bench.model.steps.first != 40)
        let alone = try RouterBench(context: 1024)
        let other = try alone.caller()
        try other.start(1, spec(prompt(1, 5), 300))
        alone.turn(4)
        alone.model.steps = []
        try other.start(2, spec(prompt(2, 40), 300))
        alone.turn(1)
        #expect(alone.model.steps.first != 40)
    }

    @Test(
        "Who comes in the middle of a step has its first token before the step's end; what else is heard then waits for it"
    )
    func inTheMiddle() throws {
        let bench = try RouterBench(context: 1024)
        bench.server.lookPause = 0
        let (caller, other, leaver) = (try bench.caller(), try bench.caller(), try bench.caller())
        func ask(_ caller: BenchCaller, _ number: UInt64, rows: Int, owner: UInt64) throws {
            var spec = spec(prompt(Int(number), rows), 300)
            spec.owner = owner
            try caller.start(number, spec)
        }
        let alone = try RouterBench(context: 1024).run(spec(prompt(1, 5), 300))
        try ask(caller, 1, rows: 5, owner: 1)
        try ask(caller, 2, rows: 5, owner: 1)
        try ask(leaver, 3, rows: 5, owner: 1)
        bench.turn(4)
        bench.model.steps = []
        var told = 0
        bench.model.meanwhile = {
            bench.model.meanwhile = {}
            do {
                // All at once, and the one that leaves has rows in the step.
                try caller.cancel(2)
                try ask(caller, 5, rows: 30, owner: 1)
                try ask(other, 4, rows: 40, owner: 2)
                shutdown(leaver.socket.raw, Int32(SHUT_RDWR))
            } catch {
                Issue.record(error)
            }
        }
        let before = bench.meter.active
        bench.model.afterInner = {
            bench.model.afterInner = {}
            told = bench.meter.active
        }
        bench.turn()
        #expect(bench.model.steps == [40, 3], "first who came, then the step that it was let into")
        #expect(before == 3 && told == 4, "nobody has ended in the middle of the step, and nobody else has begun")
        try other.receive()
        #expect(
            other.result(4) == nil && other.events[4]?.contains { if case .token = $0 { true } else { false } } == true)
        #expect(bench.meter.active == 3, "1, 4 and 5: one was cancelled, one's caller has left")
        for _ in 0..<700 where caller.result(1) == nil || other.result(4) == nil || caller.result(5) == nil {
            bench.turn()
            try caller.receive()
            try other.receive()
        }
        #expect(caller.result(1) == alone)
        #expect(try other.result(4) == RouterBench(context: 1024).run(spec(prompt(4, 40), 300)))
        #expect(try caller.result(5) == RouterBench(context: 1024).run(spec(prompt(5, 30), 300)))
        #expect(caller.result(2) == nil)
    }

    @Test("One is let pass per step, and none whose rows are in it")
    func onePerStep() throws {
        let bench = try RouterBench(context: 1024)
        bench.server.lookPause = 0
        let caller = try bench.caller()
        func ask(_ number: UInt64, rows: Int, owner: UInt64) throws {
            var spec = spec(prompt(Int(number), rows), 300)
            spec.owner = owner
            try caller.start(number, spec)
        }
        try ask(1, rows: 5, owner: 1)
        bench.turn(4)
        bench.model.steps = []
        var next: UInt64 = 2
        bench.model.meanwhile = {
            for _ in 0..<2 {
                try? ask(next, rows: 40, owner: next)
                next += 1
            }
        }
        bench.turn()
        bench.model.meanwhile = {}
        #expect(bench.model.steps == [40, 1])
        bench.turn()
        #expect(bench.model.steps.count == 3 && bench.model.steps[2] > 2, "the other one's rows are in the next")
    }

    @Test(
        "An owner's requests have no more memory than it may have: they wait for each other, and kept prompts make room"
    )
    func ownersMemory() throws {
        let bench = try RouterBench(context: 512, sequences: 16)
        bench.model.bytesPerToken = 10
        let caller = try bench.caller()
        var (reserved, most) = (0, 0)
        func turn(_ count: Int = 1) throws {
            for _ in 0..<count {
                bench.turn()
                while let packet = try? Seqpacket.receive(bench.node.raw, wait: false) {
                    switch try InvokeRequest(frame: packet.bytes) {
                    case .reserve(let request, let bytes):
                        reserved += Int(bytes)
                        try Seqpacket.send(bench.node.raw, InvokeEvent.reserved(request: request).frame)
                    case .unreserve(let bytes): reserved -= Int(bytes)
                    default: break
                    }
                }
                most = max(most, reserved)
            }
            try caller.receive()
        }
        func ask(_ number: UInt64, _ rows: Int, owner: UInt64, bytes: UInt64 = 2000) throws {
            var spec = spec(prompt(Int(number), rows), 20)
            (spec.owner, spec.ownerBytes) = (owner, bytes)
            try caller.start(number, spec)
        }
        // 900 bytes each of 2000: two at once.
        for number in 1...5 { try ask(UInt64(number), 70, owner: 1) }
        try turn(3)
        #expect(reserved == 1800 && bench.server.held.count == 3)
        // Another owner, or one without a limit, does not wait for them.
        try ask(6, 70, owner: 2)
        try ask(7, 300, owner: 3, bytes: 0)
        // One that waits is cancelled; one that can never have room is refused with the numbers.
        try caller.cancel(5)
        try ask(8, 181, owner: 1)
        try turn(3)
        #expect(bench.server.held.count == 2)
        let refusal = caller.result(8)?.failure
        #expect(refusal?.code == "context_length_exceeded" && refusal?.message.contains("2010 bytes") == true)
        #expect(refusal?.message.contains("you may have 2000") == true)
        try turn(120)
        for number in [1, 2, 3, 4, 6, 7] as [UInt64] { #expect(caller.result(number)?.ids.count == 20, "\(number)") }
        #expect(caller.result(5) == nil && bench.server.held.isEmpty && bench.server.waiting.isEmpty)
        // What ended sequences have left counts: with it there were never more than 2000 of an owner.
        #expect(most <= 2000 + 900 + 3200 && bench.server.kept.bytes(of: 1) <= 2000)
        try ask(9, 170, owner: 1)
        try turn(40)
        #expect(caller.result(9)?.ids.count == 20 && bench.server.kept.bytes(of: 1) <= 2000)
        #expect(bench.server.kept.bytes(of: 2) > 0, "others' prompts do not make room for it")
    }

    @Test("More sequences than allowed are refused as busy, not queued")
    func busy() throws {
        let bench = try RouterBench(sequences: 2)
        let caller = try bench.caller()
        for number in 1...3 { try caller.start(UInt64(number), spec(prompt(number, 5))) }
        bench.turn()
        try caller.receive()
        #expect(caller.result(3)?.failure?.code == "busy")
        bench.turn(40)
        try caller.receive()
        #expect(caller.result(1)?.ids.count == 24 && caller.result(2)?.ids.count == 24)
    }

    @Test("Draining finishes what is under way, refuses the rest, then ends")
    func drain() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        try caller.start(1, spec(prompt(1, 5)))
        bench.turn(2)
        try Seqpacket.send(bench.node.raw, InvokeEvent.drain.frame)
        try caller.start(2, spec(prompt(1, 5)))
        bench.turn(60)
        try caller.receive()
        #expect(caller.result(1)?.ids.count == 24)
        #expect(caller.result(2)?.failure?.code == "draining")
        #expect(bench.over)
    }

    @Test("The router ends when node is gone")
    func orphaned() throws {
        let bench = try RouterBench()
        shutdown(bench.node.raw, Int32(SHUT_RDWR))
        bench.turn()
        #expect(bench.over)
    }

    @Test("Whoever sends nonsense is cut off; the others notice nothing")
    func nonsense() throws {
        let frames: [[UInt8]] = [
            [0], [9, 9, 9], Array(repeating: 255, count: 1000),
            RouterFrame(sequence: 1, last: true, part: [1, 77]).frame,
            RouterFrame(sequence: 1, last: true, part: []).frame,
            RouterFrame(sequence: 1, last: true, part: RouterCommand.generate(spec([1])).frame + [0]).frame,
        ]
        let bench = try RouterBench()
        let good = try bench.caller()
        try good.start(1, spec(prompt(1, 5), 100))
        for frame in frames {
            let bad = try bench.caller()
            try bad.start(5, spec(prompt(2, 5)))
            bench.turn()
            try Seqpacket.send(bad.socket.raw, frame)
            bench.turn()
            try bad.receive()
            #expect(bad.isCutOff)
            #expect(bench.meter.active == 1)
        }
        let twice = try bench.caller()
        try twice.start(1, spec(prompt(1, 5)))
        try twice.start(1, spec(prompt(1, 5)))
        bench.turn()
        try twice.receive()
        #expect(twice.isCutOff)
        bench.turn(100)
        try good.receive()
        #expect(good.result(1)?.ids.count == 100)
    }

    @Test("A caller that does not read pauses alone, and gets everything once it reads")
    func slowReader() throws {
        let bench = try RouterBench(context: 4096)
        let (slow, quick) = (try bench.caller(), try bench.caller())
        var long = spec(prompt(1, 4), 1500)
        long.topLogprobs = nil
        long.sampling = SamplingSpec(temperature: 0)
        try slow.start(1, long)
        bench.turn(1400)
        let stalled = bench.model.steps.count
        bench.turn(100)
        #expect(bench.model.steps.count == stalled, "nothing is computed for one who does not read")
        try quick.start(1, spec(prompt(2, 5)))
        bench.turn(40)
        try quick.receive()
        #expect(quick.result(1)?.ids.count == 24)
        #expect(slow.result(1) == nil)
        for _ in 0..<20_000 where slow.result(1) == nil {
            bench.turn(50)
            try slow.receive()
        }
        let ids = slow.result(1)?.ids
        #expect(ids?.count == 1500)
    }

    @Test("One who asks on and on without reading is cut off")
    func floods() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        try caller.socket.setNonblocking(true)
        let frame = RouterFrame.cut(RouterCommand.generate(GenerateSpec(prompt: .tokens([]))), sequence: 1)[0].frame
        var sent = 0
        while sent < 100_000, (try? Seqpacket.send(caller.socket.raw, frame, wait: false)) != nil {
            sent += 1
            if sent % 100 == 0 { bench.turn(2) }
        }
        #expect(sent < 20_000)
        #expect(bench.server.callers.isEmpty)
    }

    @Test("A failed step ends its sequences with the reason, and the router goes on")
    func failedStep() throws {
        let bench = try RouterBench()
        let caller = try bench.caller()
        try caller.start(1, spec(prompt(1, 5)))
        bench.turn(2)
        bench.model.failure = RouterFailure("crashed", "expert L00-E003 died 20 times")
        bench.turn(2)
        try caller.receive()
        #expect(caller.result(1)?.failure == RouterFailure("crashed", "expert L00-E003 died 20 times"))
        #expect(bench.meter.active == 0)
        try caller.start(2, spec(prompt(1, 5)))
        bench.turn(40)
        try caller.receive()
        #expect(try caller.result(2) == RouterBench().run(spec(prompt(1, 5))))
    }

    @Test("Callers may come in one message, also while experts are acquired")
    func manyOffers() throws {
        let bench = try RouterBench()
        let arena = try SharedMemory(name: "arena", count: 4096)
        var descriptors: [Int32] = []
        var kept: [Descriptor] = []
        var callers: [BenchCaller] = []
        for _ in 0..<10 {
            let (mine, lane) = try Seqpacket.pair()
            let (_, second) = try Seqpacket.pair()
            callers.append(BenchCaller(socket: mine) { bench.turn() })
            kept += [lane, second]
            descriptors += [lane.raw, second.raw, arena.readable.raw, arena.writable.raw]
        }
        let offers = (0..<10).map { LinkOffer(link: $0, lanes: 2, requestArena: 4096, replyArena: 4096) }
        try Seqpacket.send(bench.node.raw, InvokeEvent.accept(offers).frame, descriptors: descriptors)
        kept = []
        bench.turn()
        for caller in callers {
            try caller.start(1, GenerateSpec(prompt: .tokens([1]), maxTokens: 2, ignoresEnd: true))
        }
        bench.turn(12)
        for caller in callers { try caller.receive() }
        #expect(callers.count { $0.result(1)?.ids.count == 2 } == 8, "eight run at once")
        #expect(callers.count { $0.result(1)?.failure?.code == "busy" } == 2)
    }
}

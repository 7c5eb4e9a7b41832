// What events become: OpenAI's objects, and a stream that adds up to the whole answer.
import Testing
import Wire

@testable import Gateway

private func request(_ members: String) throws -> CompletionRequest {
    try CompletionRequest(try JSONReader.read(Array(#"{"model":"m","prompt":"ab",\#(members)}"#.utf8)))
}

private func score(_ id: Int32, _ bytes: [UInt8], _ logprob: Float, top: [ScoredToken] = []) -> TokenScore {
    TokenScore(token: ScoredToken(id: id, bytes: bytes, logprob: logprob), top: top)
}

@Suite struct AnswerTests {
    private let events: [RouterEvent] = [
        .started(prompt: [1, 2], text: "aé", cached: 0),
        .promptScores(first: 0, [score(1, [97], 0)]),
        .promptScores(
            first: 1,
            [score(2, Array("é".utf8), -0.5, top: [ScoredToken(id: 2, bytes: Array("é".utf8), logprob: -0.5)])]),
        // One character in two tokens, then one that is held back.
        .token(index: 0, id: 3, text: "", score: score(3, [0xE2, 0x82], -1)),
        .token(
            index: 1, id: 4, text: "€",
            score: score(4, [0xAC], -2, top: [ScoredToken(id: 9, bytes: [120], logprob: -1.5)])),
        .token(index: 2, id: 5, text: "", score: score(5, [98], -.infinity)),
        .finished(.stop, text: "b", tokens: 3),
    ]

    @Test("Log-probabilities have their place in the text, the chosen token among the alternatives, and no infinity")
    func logprobs() throws {
        var answer = CompletionAnswer(try request(#""echo":true,"logprobs":1"#), created: 7)
        for event in events { _ = answer.add(0, event) }
        let whole = answer.whole
        guard case .array(let choices)? = whole["choices"], let choice = choices.first, let scores = choice["logprobs"]
        else {
            Issue.record("\(whole.text)")
            return
        }
        #expect(choice["text"] == "aé€b" && choice["finish_reason"] == "stop")
        #expect(scores["tokens"] == ["a", "é", #"bytes:\xe2\x82"#, #"bytes:\xac"#, "b"])
        #expect(scores["text_offset"] == [0, 1, 2, 2, 3])
        #expect(scores["token_logprobs"]?.text == "[null,-0.5,-1.0,-2.0,-9999]")
        #expect(
            scores["top_logprobs"]?.text
                == #"[null,{"é":-0.5},{"bytes:\\xe2\\x82":-1.0},{"x":-1.5,"bytes:\\xac":-2.0},{"b":-9999}]"#)
        #expect(
            whole["usage"]?.text
                == #"{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}"#
        )
        #expect(whole["created"] == 7 && whole["object"] == "text_completion" && whole["model"] == "m")
    }

    @Test("Without echo the offsets begin behind the prompt")
    func offsets() throws {
        var answer = CompletionAnswer(try request(#""logprobs":0"#), created: 7)
        for event in [events[0]] + events[3...] { _ = answer.add(0, event) }
        guard case .array(let choices)? = answer.whole["choices"] else { return }
        #expect(choices.first?["logprobs"]?["text_offset"] == [2, 2, 3])
        #expect(choices.first?["text"] == "€b")
    }

    @Test("The chunks of a stream add up to the whole answer, log-probabilities included")
    func chunksAddUp() throws {
        for members in [#""echo":true,"logprobs":1"#, #""echo":true"#, #""logprobs":1"#, #""n":1"#] {
            var whole = CompletionAnswer(try request(members), created: 7)
            var streamed = CompletionAnswer(try request(members + #","stream":true"#), created: 7)
            var text = ""
            var tokens: [JSONValue] = []
            var reasons: [JSONValue] = []
            let scored = members.contains("logprobs")
            for event in events where scored || !isScores(event) {
                _ = whole.add(0, event)
                for chunk in streamed.add(0, event) {
                    guard case .array(let choices)? = chunk["choices"], let choice = choices.first else { continue }
                    if case .string(let piece)? = choice["text"] { text += piece }
                    if case .array(let list)? = choice["logprobs"]?["tokens"] { tokens += list }
                    if let reason = choice["finish_reason"], reason != .null { reasons.append(reason) }
                    #expect(chunk["usage"] == nil)
                }
            }
            guard case .array(let choices)? = whole.whole["choices"], let choice = choices.first else { continue }
            #expect(choice["text"] == .string(text), "\(members)")
            #expect(reasons == ["stop"])
            if scored { #expect(choice["logprobs"]?["tokens"] == .array(tokens), "\(members)") }
        }
    }

    private func isScores(_ event: RouterEvent) -> Bool { if case .promptScores = event { true } else { false } }

    @Test("Of several prompts and choices each prompt is counted once")
    func usage() throws {
        let request = try CompletionRequest(try JSONReader.read(Array(#"{"model":"m","prompt":["a","b"],"n":2}"#.utf8)))
        var answer = CompletionAnswer(request, created: 1)
        for choice in 0..<4 {
            _ = answer.add(choice, .started(prompt: [1, 2, 3], text: "", cached: 2))
            #expect(!answer.head.isComplete)
            _ = answer.add(choice, .finished(.length, text: "", tokens: 5))
        }
        #expect(answer.head.isComplete)
        #expect(
            answer.head.usage.text
                == #"{"prompt_tokens":6,"completion_tokens":20,"total_tokens":26,"prompt_tokens_details":{"cached_tokens":4}}"#
        )
    }

    @Test("A chat stream begins with the role and ends with the reason; usage is null until the last chunk")
    func chat() throws {
        let body =
            #"{"model":"m","messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":1,"stream":true,"stream_options":{"include_usage":true}}"#
        var answer = ChatAnswer(try ChatRequest(try JSONReader.read(Array(body.utf8))), created: 7)
        let chunks = events.filter { !isScores($0) }.flatMap { answer.add(0, $0) }
        func first(_ chunk: JSONValue) -> JSONValue? {
            if case .array(let list)? = chunk["choices"] { list.first } else { nil }
        }
        #expect(first(chunks[0])?["delta"]?["role"] == "assistant")
        #expect(chunks.allSatisfy { $0["usage"] == .null && $0["object"] == "chat.completion.chunk" })
        let text = chunks.compactMap { chunk -> String? in
            if case .string(let text)? = first(chunk)?["delta"]?["content"] { text } else { nil }
        }.joined()
        #expect(text == "€b")
        #expect(first(chunks[chunks.count - 1])?["finish_reason"] == "stop")
        #expect(first(chunks[chunks.count - 1])?["delta"] == .object([]))
        #expect(
            first(chunks[1])?["logprobs"]?["content"]?.text
                == #"[{"token":"�","logprob":-1.0,"bytes":[226,130],"top_logprobs":[]}]"#)
        let usage = try #require(answer.head.usageChunk(ChatAnswer.chunkKind))
        #expect(usage["choices"] == [] && usage["usage"]?["completion_tokens"] == 3)
        #expect(first(answer.whole)?["message"]?["content"] == "€b")
    }
}

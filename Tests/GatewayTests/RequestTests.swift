// Requests as clients send them: the forms that are taken, and that each wrong one names its parameter.
import HTTPTypes
import Testing
import Wire

@testable import Gateway

private func json(_ text: String) throws -> JSONValue { try JSONReader.read(Array(text.utf8)) }

@Suite struct RequestTests {
    @Test("All four forms of prompt are taken")
    func promptForms() throws {
        func prompts(_ text: String) throws -> [Prompt] {
            try CompletionRequest(try json(#"{"model":"m","prompt":\#(text)}"#)).prompts
        }
        #expect(try prompts(#""a""#) == [.text("a")])
        #expect(try prompts(#"["a","b"]"#) == [.text("a"), .text("b")])
        #expect(try prompts("[1,2]") == [.tokens([1, 2])])
        #expect(try prompts("[[1,2],[3]]") == [.tokens([1, 2]), .tokens([3])])
    }

    @Test("A parameter that is null is as if it were left out")
    func nulls() throws {
        let names = [
            "stop", "seed", "max_tokens", "temperature", "top_p", "n", "logprobs", "echo", "stream", "stream_options",
            "presence_penalty", "frequency_penalty", "user",
        ]
        let nulls = names.map { "\"\($0)\":null" }.joined(separator: ",")
        let request = try CompletionRequest(try json("{\"model\":\"m\",\"prompt\":\"a\",\(nulls)}"))
        var (spec, plain) = (
            try #require(request.specs.first),
            try #require(try CompletionRequest(try json(#"{"model":"m","prompt":"a"}"#)).specs.first)
        )
        // Without a seed each request gets one of its own.
        (spec.sampling.seed, plain.sampling.seed) = (0, 0)
        #expect(spec == plain)
        let chat = try ChatRequest(
            try json(
                #"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":null,"stop":null,"max_tokens":null}"#)
        )
        #expect(chat.specs.count == 1)
    }

    @Test("What is left out has OpenAI's defaults, and what is set arrives")
    func defaults() throws {
        let plain = try CompletionRequest(try json(#"{"model":"m","prompt":"a"}"#))
        let spec = try #require(plain.specs.first)
        #expect(spec.maxTokens == 16 && spec.topLogprobs == nil && !spec.promptScores && spec.stop.isEmpty)
        #expect(spec.sampling.temperature == nil && spec.sampling.topP == nil)
        let full = try CompletionRequest(
            try json(
                #"""
                {"model":"m","prompt":["a","b"],"n":2,"max_tokens":0,"echo":true,"logprobs":0,"temperature":0,"top_p":0.5,
                 "top_k":40,"min_p":0.1,"presence_penalty":-2,"frequency_penalty":2,"repetition_penalty":1.1,"seed":-1,
                 "stop":["x","y"],"stream":true,"stream_options":{"include_usage":true},"user":"u","unknown":[1]}
                """#))
        #expect(full.specs.count == 4)
        let last = try #require(full.specs.last)
        #expect(last.prompt == .text("b") && last.maxTokens == 0 && last.promptScores && last.topLogprobs == 0)
        #expect(
            last.sampling
                == SamplingSpec(
                    temperature: 0, topP: 0.5, topK: 40, minP: 0.1, repetitionPenalty: 1.1, presencePenalty: -2,
                    frequencyPenalty: 2, seed: .max, choice: 1))
        #expect(last.stop == ["x", "y"] && full.common.stream && full.common.includesUsage)
        #expect(try CompletionRequest(try json(#"{"model":"m","prompt":"a","max_tokens":-1}"#)).maxTokens == nil)
    }

    @Test(
        "A wrong completion request is refused and names its parameter",
        arguments: [
            (#""prompt":"a""#, "model"), (#""model":1,"prompt":"a""#, "model"), (#""model":"m""#, "prompt"),
            (#""model":"m","prompt":[]"#, "prompt"), (#""model":"m","prompt":[1,"a"]"#, "prompt"),
            (#""model":"m","prompt":["a",1]"#, "prompt"), (#""model":"m","prompt":[[]]"#, "prompt"),
            (#""model":"m","prompt":[-1]"#, "prompt"), (#""model":"m","prompt":[1.5]"#, "prompt"),
            (#""model":"m","prompt":[99999999999]"#, "prompt"), (#""model":"m","prompt":{}"#, "prompt"),
            (#""model":"m","prompt":"a","temperature":"hot""#, "temperature"),
            (#""model":"m","prompt":"a","temperature":2.1"#, "temperature"),
            (#""model":"m","prompt":"a","temperature":-0.1"#, "temperature"),
            (#""model":"m","prompt":"a","top_p":0"#, "top_p"), (#""model":"m","prompt":"a","top_p":1.1"#, "top_p"),
            (#""model":"m","prompt":"a","n":0"#, "n"), (#""model":"m","prompt":"a","n":17"#, "n"),
            (#""model":"m","prompt":"a","n":1.5"#, "n"), (#""model":"m","prompt":"a","max_tokens":-2"#, "max_tokens"),
            (#""model":"m","prompt":"a","max_tokens":"1""#, "max_tokens"),
            (#""model":"m","prompt":"a","logprobs":6"#, "logprobs"),
            (#""model":"m","prompt":"a","logprobs":true"#, "logprobs"),
            (#""model":"m","prompt":"a","stop":"" "#, "stop"), (#""model":"m","prompt":"a","stop":[""]"#, "stop"),
            (#""model":"m","prompt":"a","stop":[1]"#, "stop"), (#""model":"m","prompt":"a","stop":5"#, "stop"),
            (#""model":"m","prompt":"a","stream":"yes""#, "stream"),
            (#""model":"m","prompt":"a","stream_options":{"include_usage":true}"#, "stream_options"),
            (
                #""model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":1}"#,
                "stream_options.include_usage"
            ),
            (#""model":"m","prompt":"a","seed":1.5"#, "seed"), (#""model":"m","prompt":"a","echo":1"#, "echo"),
            (#""model":"m","prompt":"a","logit_bias":{"5":1}"#, "logit_bias"),
            (#""model":"m","prompt":"a","suffix":"z""#, "suffix"),
            (#""model":"m","prompt":"a","best_of":3"#, "best_of"),
            (#""model":"m","prompt":"a","presence_penalty":3"#, "presence_penalty"),
            (#""model":"m","prompt":"a","repetition_penalty":0"#, "repetition_penalty"),
        ])
    func wrongCompletions(members: String, param: String) throws {
        let body = try json("{\(members)}")
        let error = #expect(throws: APIError.self) { try CompletionRequest(body) }
        #expect(error?.status == .badRequest && error?.param == param, "\(String(describing: error))")
    }

    @Test("Turns are taken with content as text or as parts, and developer is another name for system")
    func turns() throws {
        let chat = try ChatRequest(
            try json(
                #"""
                {"model":"m","messages":[{"role":"developer","content":"s"},
                 {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                 {"role":"assistant","content":""}],"logprobs":true,"max_tokens":5,"max_completion_tokens":7,"tools":[],
                 "response_format":{"type":"text"},"tool_choice":"none"}
                """#))
        #expect(
            chat.turns == [
                ChatTurn(role: "system", content: "s"), ChatTurn(role: "user", content: "ab"),
                ChatTurn(role: "assistant", content: ""),
            ])
        #expect(chat.topLogprobs == 0 && chat.maxTokens == 7)
        #expect(
            try ChatRequest(try json(#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#)).maxTokens == nil)
    }

    @Test(
        "A wrong chat request is refused and names its parameter",
        arguments: [
            (#""messages":[]"#, "messages"), (#""messages":"hello""#, "messages"), (#""messages":null"#, "messages"),
            (#""messages":["a"]"#, "messages[0]"), (#""messages":[{"content":"a"}]"#, "messages[0].role"),
            (#""messages":[{"role":"user"}]"#, "messages[0].content"),
            (#""messages":[{"role":"robot","content":"a"}]"#, "messages[0].role"),
            (#""messages":[{"role":"user","content":"a"},{"role":"tool","content":"a"}]"#, "messages[1].role"),
            (
                #""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#,
                "messages[0].content[0].type"
            ),
            (#""messages":[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0].text"),
            (#""messages":[{"role":"user","content":[{"type":"text","text":1}]}]"#, "messages[0].content[0].text"),
            (#""messages":[{"role":"user","content":"a"}],"top_logprobs":5"#, "top_logprobs"),
            (#""messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":21"#, "top_logprobs"),
            (#""messages":[{"role":"user","content":"a"}],"tools":[{"type":"function"}]"#, "tools"),
            (#""messages":[{"role":"user","content":"a"}],"tool_choice":"required""#, "tool_choice"),
            (
                #""messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_object"}"#,
                "response_format"
            ),
            (#""messages":[{"role":"user","content":"a"}],"modalities":["audio"]"#, "modalities"),
            (#""messages":[{"role":"user","content":"a"}],"max_completion_tokens":1.5"#, "max_completion_tokens"),
        ])
    func wrongChats(members: String, param: String) throws {
        let body = try json(#"{"model":"m",\#(members)}"#)
        let error = #expect(throws: APIError.self) { try ChatRequest(body) }
        #expect(error?.status == .badRequest && error?.param == param, "\(String(describing: error))")
    }

    @Test("Hosts and origins that are the listener's own pass, all others do not")
    func access() {
        let rule = AccessRule(listen: "127.0.0.1")
        func passes(_ host: String?, _ origin: String? = nil, local: String? = "127.0.0.1") -> Bool {
            rule.refusal(host: host, origin: origin, local: local) == nil
        }
        for host in ["127.0.0.1", "127.0.0.1:8420", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8420"] {
            #expect(passes(host), "\(host)")
        }
        for host in [
            nil, "", "evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil.example",
            "127.0.0.2",
            "localhost:", "localhost:x", "localhost:99999", "[::1", "[::1]x", "user@localhost", "::1",
        ] {
            #expect(!passes(host), "\(host ?? "nil")")
        }
        #expect(passes("localhost", "http://localhost:8420") && passes("localhost", "https://127.0.0.1"))
        for origin in [
            "http://evil.example", "null", "", "file://", "http://localhost.evil.example",
            "http://localhost@evil.example", "ftp://localhost",
        ] {
            #expect(!passes("localhost", origin), "\(origin)")
        }
        // Listening on all addresses: the address of the connection itself is no lure.
        #expect(AccessRule(listen: "0.0.0.0").refusal(host: "10.0.0.5:80", origin: nil, local: "10.0.0.5") == nil)
        #expect(AccessRule(listen: "0.0.0.0").refusal(host: "10.0.0.6:80", origin: nil, local: "10.0.0.5") != nil)
        #expect(
            AccessRule(listen: "moe.lan").refusal(host: "moe.lan:80", origin: "http://moe.lan:80", local: nil) == nil)
    }
}

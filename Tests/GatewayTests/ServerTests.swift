// The gateway on real sockets: statuses, streams, and clients that leave.
import FunctionModel
import Glibc
import Logging
import NIOPosix
import Synchronization
import Testing
import Wire

@testable import Gateway

@Suite struct ServerTests {
    private let body = #"{"model":"m","prompt":"ab"}"#

    private func payload(_ answer: String) -> String {
        answer.firstRange(of: "\r\n\r\n").map { String(answer[$0.upperBound...]) } ?? ""
    }
    private func events(_ answer: String) -> [String] {
        answer.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
    }

    @Test("A completion is answered whole")
    func whole() async throws {
        let answer = try await RunningGateway().post("/v1/completions", body)
        #expect(status(answer) == 200)
        let value = try JSONReader.read(Array(payload(answer).utf8))
        #expect(value["choices"]?.text.contains(#""text":"Once upon\n\"a\" time""#) == true)
        #expect(answer.lowercased().contains("content-type: application/json"))
        #expect(answer.lowercased().contains("\r\ndate: "))
    }

    @Test("A stream has a data line per chunk, then usage with no choices, then [DONE]")
    func stream() async throws {
        let gateway = await RunningGateway()
        let answer = try await gateway.post(
            "/v1/chat/completions",
            #"{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":true}}"#
        )
        #expect(status(answer) == 200 && answer.lowercased().contains("content-type: text/event-stream"))
        let events = events(answer)
        #expect(events.last == "[DONE]")
        let values = try events.dropLast().map { try JSONReader.read(Array($0.utf8)) }
        #expect(values.count == 6)
        #expect(values.last?["choices"] == [] && values.last?["usage"]?["total_tokens"] == 5)
        #expect(values.dropLast().allSatisfy { $0["usage"] == .null })
    }

    @Test("Without include_usage no chunk speaks of usage")
    func noUsage() async throws {
        let answer = try await RunningGateway().post("/v1/completions", #"{"model":"m","prompt":"ab","stream":true}"#)
        let events = events(answer)
        #expect(events.count == 5 && events.last == "[DONE]")
        #expect(!answer.contains("usage"))
    }

    @Test("An error before the first token has its own status, one behind it stands in the stream")
    func errors() async throws {
        let gateway = await RunningGateway()
        for (code, expected) in [
            ("context_length_exceeded", 400), ("invalid_prompt", 400), ("unavailable", 503), ("something", 500),
            ("not_found", 404),
        ] {
            gateway.control.mood.withLock { $0 = .fails(code: code) }
            for streams in ["true", "false"] {
                let answer = try await gateway.post(
                    "/v1/completions", #"{"model":"m","prompt":"ab","stream":\#(streams)}"#)
                #expect(status(answer) == expected, "\(code)")
                #expect(answer.contains("it failed: \(code)"))
            }
        }
        gateway.control.mood.withLock { $0 = .failsLater }
        let answer = try await gateway.post("/v1/completions", #"{"model":"m","prompt":"ab","stream":true}"#)
        #expect(status(answer) == 200)
        #expect(events(answer).last?.hasPrefix(#"{"error":{"message":"it died""#) == true)
        #expect(status(try await gateway.post("/v1/completions", body)) == 503)
    }

    @Test("A full queue is 429 with Retry-After; an unknown model is 404 with OpenAI's code")
    func refusals() async throws {
        let gateway = await RunningGateway()
        gateway.control.mood.withLock { $0 = .refuses(code: "queue_full") }
        let full = try await gateway.post("/v1/completions", body)
        #expect(status(full) == 429 && full.lowercased().contains("retry-after: 1"))
        let unknown = try await gateway.post("/v1/completions", #"{"model":"x","prompt":"ab"}"#)
        #expect(
            status(unknown) == 404 && unknown.contains(#""code":"model_not_found""#)
                && unknown.contains(#""param":"model""#))
        #expect(
            status(
                try await gateway.exchange("GET /v1/models/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
                == 404)
    }

    @Test("Every wrong request gets its status and a JSON body")
    func statuses() async throws {
        let gateway = await RunningGateway()
        func get(_ path: String, host: String = "localhost", more: String = "", method: String = "GET") async throws
            -> String
        {
            try await gateway.exchange(
                "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\n\(more)Connection: close\r\n\r\n")
        }
        let cases: [(String, Int)] = [
            (try await get("/health"), 200), (try await get("/v1/models"), 200), (try await get("/v1/models/m"), 200),
            (try await get("/nowhere"), 404), (try await get("/v1/completions"), 405),
            (try await get("/v1/models", method: "DELETE"), 405),
            (try await get("/admin/status"), 404), (try await get("/health", host: "evil.example"), 403),
            (try await get("/health", more: "Origin: http://evil.example\r\n"), 403),
            (try await get("/health", more: "Origin: http://localhost:8420\r\n"), 200),
            (try await gateway.post("/v1/completions", body, headers: "Content-Type: text/plain\r\n"), 415),
            (try await gateway.post("/v1/completions", body, headers: ""), 415),
            (
                try await gateway.post(
                    "/v1/completions", body, headers: "Content-Type: application/json; charset=utf-8\r\n"), 200
            ),
            (try await gateway.post("/v1/completions", "{"), 400),
            (try await gateway.post("/v1/completions", "[]"), 400),
            (try await gateway.post("/v1/completions", "{\"model\":\"m\",\"prompt\":\"a\",\"n\":99}"), 400),
        ]
        for (index, (answer, expected)) in cases.enumerated() {
            #expect(status(answer) == expected, "case \(index): \(answer)")
            #expect((try? JSONReader.read(Array(payload(answer).utf8))) != nil, "case \(index): \(answer)")
        }
        #expect(cases[4].0.lowercased().contains("allow: post"))
        #expect(cases[13].0.contains("line 1, column 2"))
    }

    @Test("A body that is too long is 413, whether it says so or not")
    func tooLong() async throws {
        let gateway = await RunningGateway()
        let long = String(repeating: " ", count: 9 << 20)
        #expect(status(try await gateway.post("/v1/completions", long)) == 413)
        let chunked =
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + String(long.utf8.count, radix: 16) + "\r\n"
            + long + "\r\n0\r\n\r\n"
        #expect(status(try await gateway.exchange(chunked)) == 413)
        // Also where the body is not looked at at all.
        #expect(status(try await gateway.post("/nowhere", long)) == 404)
        #expect(status(try await gateway.post("/v1/completions", long, headers: "Content-Type: text/plain\r\n")) == 415)
    }

    @Test("A body in broken chunks is 400 and no trouble for the next client")
    func brokenChunks() async throws {
        let gateway = await RunningGateway()
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        #expect(status(try await gateway.exchange(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nnonsense")) == 400)
        #expect(status(try await gateway.exchange("nonsense\r\n\r\n")) == 400)
        #expect(status(try await gateway.post("/v1/completions", body)) == 200)
    }

    @Test("A client that leaves ends its sequences within half a second, streaming or not, before and after tokens")
    func leaving() async throws {
        for (mood, stream, choices) in [
            (FakeControl.Mood.hangs, false, 1), (.hangs, true, 1), (.hangsLater, false, 3), (.hangsLater, true, 3),
        ] {
            let gateway = await RunningGateway()
            gateway.control.mood.withLock { $0 = mood }
            let body = #"{"model":"m","prompt":"ab","n":\#(choices),"stream":\#(stream)}"#
            try await blocking {
                let client = Client(port: gateway.port)
                client.send(
                    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                )
                // Not before it was asked: then there is nothing to end.
                for _ in 0..<500 where gateway.control.asked.withLock({ $0 }) == 0 { usleep(10_000) }
                usleep(150_000)
            }
            let left = ContinuousClock.now
            while gateway.control.cancelled.withLock({ $0 }) < choices, ContinuousClock.now - left < .seconds(5) {
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(gateway.control.cancelled.withLock { $0 } == choices)
            #expect(ContinuousClock.now - left < .milliseconds(500))
        }
    }

    @Test("A connection serves one request after another")
    func keepAlive() async throws {
        let gateway = await RunningGateway()
        let (port, body) = (gateway.port, body)
        let request =
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        let answers = try await blocking {
            let client = Client(port: port)
            return (0..<3).map { _ in
                client.send(request)
                return client.readAnswer(until: "total_tokens")
            }
        }
        #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200") })
    }

    @Test("The administration socket answers the CLI's questions, and only on its own listener")
    func administration() async throws {
        let control = FakeControl()
        let folder = "/tmp/locum-gateway-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        mkdir(folder, 0o700)
        defer { rmdir(folder) }
        let path = folder + "/admin.sock"
        defer { unlink(path) }
        let (up, sink) = AsyncStream<Void>.makeStream()
        let gateway = Gateway(
            control: control, group: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        Task { try await gateway.serveAdministration(.path(path)) { sink.finish() } }
        for await _ in up {}
        var information = stat()
        stat(path, &information)
        #expect(information.st_mode & 0o777 == 0o600)
        let answers = try await blocking {
            [
                "GET /admin/models", "GET /admin/models/m", "GET /admin/models/x", "DELETE /admin/models/m",
                "GET /admin/instances",
                "GET /admin/status", "POST /admin/verify", "POST /admin/evict", "GET /v1/models",
            ].map { line in
                let client = Client(path: path)
                let body = line.hasSuffix("evict") ? #"{"target":"--all"}"# : ""
                client.send(
                    "\(line) HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
                )
                return client.readAnswer()
            }
        }
        #expect(answers.map(status) == [200, 200, 404, 200, 200, 200, 200, 200, 200])
        #expect(control.evicted.withLock { $0 } == ["--all"])
        #expect(answers[5].contains(#""cold_start_us":{"p50":null,"p99":null}"#))
        #expect(answers[4].contains("[]"))
    }
}

// GET /metrics on the wire: who gets it, and that what requests come to stands in it.
import ControlPlane
import FunctionModel
import Observability
import Synchronization
import Testing
import Wire

@testable import Gateway

@Suite struct MetricsTests {
    private func get(_ gateway: RunningGateway, _ path: String = "/metrics", _ key: String? = nil) async throws
        -> String
    {
        let field = key.map { "Authorization: Bearer \($0)\r\n" } ?? ""
        return try await gateway.exchange(
            "GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(field)Connection: close\r\n\r\n")
    }

    @Test("Without keys this host reads it; with keys those do that were made for it, and for others there is nothing")
    func access() async throws {
        let gateway = await RunningGateway()
        let open = try await get(gateway)
        #expect(status(open) == 200 && open.contains("locum_fake 1\n"))
        #expect(open.lowercased().contains("content-type: text/plain; version=0.0.4"))
        gateway.control.keys.withLock { $0 = ["k": .tenant("a")] }
        gateway.control.operatorKeys.withLock { $0 = ["adm": .admin, "met": .metrics] }
        for key in ["adm", "met"] { #expect(try await get(gateway, "/metrics", key).contains("locum_fake 1\n")) }
        for key in [nil, "x"] { #expect(status(try await get(gateway, "/metrics", key)) == 401) }
        let nothing = try await get(gateway, "/metrics", "k")
        #expect(status(nothing) == 404 && nothing.contains(#""code":"unknown_path""#))
        for path in ["/metrics/", "//metrics", "/metrics/x", "/%6detrics"] {
            #expect(status(try await get(gateway, path, "met")) == 401, "\(path)")
        }
        let fields = "Content-Type: application/json\r\nAuthorization: Bearer met\r\n"
        #expect(status(try await gateway.post("/metrics", "{}", headers: fields)) == 401)
    }

    @Test("Requests, tokens and refusals are counted by tenant and model, and nothing of keys or prompts is said")
    func counts() async throws {
        let gateway = await RunningGateway()
        gateway.control.keys.withLock { $0 = ["secret-key": .tenant("a")] }
        gateway.control.operatorKeys.withLock { $0 = ["met": .metrics] }
        func ask(_ model: String = "m", _ key: String = "secret-key") async throws -> String {
            try await gateway.post(
                "/v1/completions", #"{"model":"\#(model)","prompt":"secret-prompt"}"#,
                headers: "Content-Type: application/json\r\nAuthorization: Bearer \(key)\r\n")
        }
        for _ in 0..<3 { #expect(status(try await ask()) == 200) }
        #expect(status(try await ask("not-there")) == 404)
        #expect(status(try await ask("m", "nobodys-key")) == 401)
        #expect(status(try await get(gateway, "/v1/models")) == 401)
        gateway.control.mood.withLock { $0 = .refuses(code: "queue_full") }
        #expect(status(try await ask()) == 429)
        gateway.control.mood.withLock { $0 = .refuses(code: "rate_limited") }
        for _ in 0..<2 { #expect(status(try await ask()) == 429) }
        let text = try await get(gateway, "/metrics", "met")
        for line in [
            #"locum_requests_total{code="2xx",tenant="a"} 3"#, #"locum_requests_total{code="4xx",tenant="a"} 4"#,
            #"locum_requests_total{code="4xx"} 2"#, #"locum_requests_refused_total{reason="queue_full",tenant="a"} 1"#,
            #"locum_requests_refused_total{reason="rate_limit_exceeded",tenant="a"} 2"#,
            #"locum_keys_refused_total{reason="missing"} 1"#, #"locum_keys_refused_total{reason="wrong"} 1"#,
            #"locum_prompt_tokens_total{tenant="a",model="m"} 6"#,
            #"locum_cached_tokens_total{tenant="a",model="m"} 0"#,
            #"locum_output_tokens_total{tenant="a",model="m"} 9"#, #"locum_output_token_seconds_count{model="m"} 6"#,
        ] { #expect(text.contains(line + "\n"), "\(line) is not in \(text)") }
        // Also of what has not happened yet there is a value.
        for line in [
            #"locum_requests_total{code="5xx",tenant="a"} 0"#, #"locum_requests_refused_total{reason="queue_full"} 0"#,
        ] {
            #expect(text.contains(line + "\n"), "\(line) is not in \(text)")
        }
        #expect(!text.contains("secret") && !text.contains("not-there") && !text.contains("nobodys"))
        // Read again, what was read before counts.
        #expect(try await get(gateway, "/metrics", "met").contains(#"locum_requests_total{code="2xx"} 1"#))
    }

    @Test("The first token's time is from the request on, and what nobody computed in was waiting")
    func times() {
        let metrics = RequestMetrics()
        var meter = SequenceMeter(metrics, .local, model: "m")
        meter.note(.firstToken(.init(queue: 5_000_000, spawn: 1000, compute: 2000)))
        meter.note(.token(index: 0, id: 1, text: "a", score: nil))
        meter.note(.token(index: 1, id: 1, text: "b", score: nil))
        func sample(_ name: String) -> (sum: Double, count: UInt64)? {
            guard
                case .distribution(let found)? = metrics.families(tenants: []).first(where: { $0.name == name })?
                    .samples.first?
                    .value
            else { return nil }
            return (found.sum, found.count)
        }
        // The router says that it waited five seconds; that is not what the client saw.
        let first = sample("locum_first_token_seconds"), queue = sample("locum_queue_seconds")
        #expect(
            first?.count == 1 && queue?.count == 1 && (first?.sum ?? 9) < 4 && (queue?.sum ?? 9) <= (first?.sum ?? 0))
        #expect(sample("locum_output_token_seconds")?.count == 1)
    }
}

// Keys and tenants on the wire: what each refusal and each header looks like.
import ControlPlane
import FunctionModel
import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Gateway

@Suite struct TenantTests {
    private func get(_ gateway: RunningGateway, _ path: String, _ authorization: String?) async throws -> String {
        let field = authorization.map { "Authorization: \($0)\r\n" } ?? ""
        return try await gateway.exchange(
            "GET \(path) HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: test\r\n\(field)Connection: close\r\n\r\n")
    }

    @Test("Where there are keys every path but /health wants one, in the form of RFC 6750")
    func keys() async throws {
        let gateway = await RunningGateway()
        #expect(status(try await get(gateway, "/v1/models", nil)) == 200)
        gateway.control.keys.withLock { $0 = ["k": .tenant("a"), "l": .tenant("b")] }
        for path in ["/v1/models", "/v1/models/m", "/v1/completions", "/admin/status", "/nowhere"] {
            for wrong in [nil, "k", "Basic k", "Bearer", "Bearer ", "Bearer kk", "Bearer k k"] {
                let answer = try await get(gateway, path, wrong)
                #expect(status(answer) == 401, "\(path) \(wrong ?? "none")")
                #expect(answer.contains(#""code":"invalid_api_key""#) && answer.contains("WWW-Authenticate: Bearer"))
            }
        }
        #expect(status(try await get(gateway, "/health", nil)) == 200)
        for right in ["Bearer k", "bearer k", "BEARER  k"] {
            #expect(try await get(gateway, "/v1/models", right).contains(#""id":"m""#))
        }
        #expect(try await get(gateway, "/v1/models", "Bearer l").contains(#""data":[]"#))
    }

    @Test("An admin key opens what the socket serves; to all others there is nothing at those paths")
    func operatorKeys() async throws {
        let gateway = await RunningGateway()
        let paths = [
            "/admin/status", "/admin/models", "/admin/keys", "/admin/tenants", "/admin/backup", "/admin/instances",
        ]
        // Also where everybody may ask.
        for path in paths { #expect(status(try await get(gateway, path, nil)) == 404) }
        gateway.control.keys.withLock { $0 = ["k": .tenant("a")] }
        gateway.control.operatorKeys.withLock { $0 = ["adm": .admin, "met": .metrics] }
        func about(_ answer: String, _ path: String) -> String {
            // But for the date.
            answer.replacing(path, with: "PATH").split(separator: "\r\n").filter {
                !$0.hasPrefix("Date") && !$0.hasPrefix("Content-Length")
            }
            .joined(separator: "\n")
        }
        for path in paths + ["/admin/status/", "//admin/status", "/%61dmin/status", "/admin", "/admin/"] {
            let nothing = try await get(gateway, "/nowhere", "Bearer k")
            #expect(about(try await get(gateway, path, "Bearer k"), path) == about(nothing, "/nowhere"), "\(path)")
            let stranger = try await get(gateway, "/nowhere", "Bearer x")
            for key in ["Bearer x", "Bearer met", "Bearer admin"] {
                #expect(about(try await get(gateway, path, key), path) == about(stranger, "/nowhere"), "\(path) \(key)")
            }
        }
        for path in paths { #expect(status(try await get(gateway, path, "Bearer adm")) == 200, "\(path)") }
        #expect(status(try await get(gateway, "/nowhere", "Bearer adm")) == 404)
        #expect(try await get(gateway, "/nowhere", "Bearer adm").contains(#""code":"unknown_path""#))
        #expect(status(try await get(gateway, "/v1/models", "Bearer adm")) == 200)
        #expect(status(try await get(gateway, "/v1/models", "Bearer met")) == 401)
        let fields = "Content-Type: application/json\r\nAuthorization: Bearer "
        let evict = #"{"target":"--all"}"#
        #expect(status(try await gateway.post("/admin/evict", evict, headers: fields + "k\r\n")) == 404)
        #expect(status(try await gateway.post("/admin/evict", evict, headers: fields + "met\r\n")) == 401)
        #expect(gateway.control.evicted.withLock { $0.isEmpty })
        #expect(status(try await gateway.post("/admin/evict", evict, headers: fields + "adm\r\n")) == 200)
        #expect(gateway.control.evicted.withLock { $0 } == ["--all"])
        _ = try await gateway.post("/v1/completions", #"{"model":"m","prompt":"x"}"#, headers: fields + "adm\r\n")
        #expect(gateway.control.callers.withLock { $0 } == [.local])
    }

    @Test("A request is its key's tenant's, and its answer says what is left of the tokens", arguments: [false, true])
    func headers(_ streams: Bool) async throws {
        let gateway = await RunningGateway()
        gateway.control.keys.withLock { $0 = ["k": .tenant("a")] }
        let answer = try await gateway.post(
            "/v1/completions", #"{"model":"m","prompt":"x","stream":\#(streams)}"#,
            headers: "Content-Type: application/json\r\nAuthorization: Bearer k\r\n")
        #expect(status(answer) == 200)
        #expect(gateway.control.callers.withLock { $0 } == [.tenant("a")])
        for line in [
            "x-ratelimit-limit-tokens: 600", "x-ratelimit-remaining-tokens: 590", "x-ratelimit-reset-tokens: 1.0s",
        ] {
            #expect(answer.lowercased().contains(line), "\(line) is not in \(answer)")
        }
    }

    @Test("Used-up tokens are 429 with OpenAI's code")
    func used() async throws {
        let gateway = await RunningGateway()
        gateway.control.mood.withLock { $0 = .refuses(code: "rate_limited") }
        let answer = try await gateway.post("/v1/completions", #"{"model":"m","prompt":"x"}"#)
        #expect(status(answer) == 429 && answer.contains(#""code":"rate_limit_exceeded""#))
        #expect(answer.contains(#""type":"rate_limit_error""#))
    }

    @Test("Tenants are administered on the unix socket, and what cannot be is said by its name")
    func administration() async throws {
        let control = FakeControl()
        let folder = "/tmp/locum-gateway-\(getpid())-tenants"
        mkdir(folder, 0o700)
        defer { rmdir(folder) }
        let path = folder + "/admin.sock"
        defer { unlink(path) }
        let (up, sink) = AsyncStream<Void>.makeStream()
        let gateway = Gateway(
            control: control, group: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        Task { try await gateway.serveAdministration(.path(path)) { sink.finish() } }
        for await _ in up {}
        func ask(_ line: String, _ body: String = "") async throws -> String {
            try await blocking {
                let client = Client(path: path)
                client.send(
                    "\(line) HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
                )
                return client.readAnswer()
            }
        }
        let made = try await ask(
            "POST /admin/tenants",
            #"{"name":"a","weight":3,"priority":"batch","max_requests":2,"tokens_per_minute":7,"models":["m"],"queue":0}"#
        )
        #expect(status(made) == 200)
        #expect(
            control.administration.limits.withLock { $0 }
                == TenantLimits(
                    weight: 3, priority: .batch, maxRequests: 2, queue: 0, tokensPerMinute: 7, models: ["m"]))
        // What is absent stays, null takes a limit away.
        #expect(status(try await ask("PATCH /admin/tenants/a", #"{"max_requests":null,"weight":4}"#)) == 200)
        #expect(
            control.administration.limits.withLock { $0 }
                == TenantLimits(
                    weight: 4, priority: .batch, maxRequests: nil, queue: 0, tokensPerMinute: 7, models: ["m"]))
        #expect(status(try await ask("PATCH /admin/tenants/a", #"{"models":null,"tokens_per_minute":null}"#)) == 200)
        #expect(control.administration.limits.withLock { $0.models == nil && $0.tokensPerMinute == nil })
        for (body, name) in [
            (#"{"weight":0}"#, "weight"), (#"{"weight":"x"}"#, "weight"), (#"{"queue":5000}"#, "queue"),
            (#"{"max_requests":0}"#, "max_requests"), (#"{"tokens_per_minute":1.5}"#, "tokens_per_minute"),
            (#"{"priority":"urgent"}"#, "priority"), (#"{"models":"m"}"#, "models"), (#"{"models":[1]}"#, "models"),
        ] {
            let answer = try await ask("PATCH /admin/tenants/a", body)
            #expect(status(answer) == 400 && answer.contains("\"param\":\"\(name)\""), "\(body): \(answer)")
        }
        #expect(status(try await ask("POST /admin/tenants", "{}")) == 400)
        #expect(status(try await ask("POST /admin/tenants", #"{"name":"b"}"#)) == 409)
        #expect(status(try await ask("GET /admin/tenants/x")) == 404)
        #expect(try await ask("GET /admin/tenants").contains(#""waiting":2"#))
        #expect(try await ask("POST /admin/tenants/a/keys", "{}").contains(#""key":"locum-abcdef""#))
        #expect(try await ask("DELETE /admin/keys/locum%2Dabc").contains(#""id":"locum-abc""#))
        #expect(try await ask("POST /admin/keys", #"{"role":"admin"}"#).contains(#""key":"locum-admin-key""#))
        for wrong in ["{}", #"{"role":"root"}"#, #"{"role":1}"#, #"{"role":null}"#] {
            #expect(status(try await ask("POST /admin/keys", wrong)) == 400, "\(wrong)")
        }
        #expect(try await ask("GET /admin/keys").contains(#""role":"admin""#))
        #expect(status(try await ask("DELETE /admin/tenants/a")) == 409)
        #expect(status(try await ask("DELETE /admin/tenants/a?models=true")) == 200)
        let hash = String(repeating: "ab", count: 32)
        let put = #"{"created_at":5,"limits":{"weight":2},"keys":[{"id":"locum-x","hash":"\#(hash)","created_at":6}]}"#
        #expect(status(try await ask("PUT /admin/tenants/a", put)) == 200)
        let key = KeyRecord(id: "locum-x", hash: [UInt8](repeating: 0xAB, count: 32), createdAt: 6)
        let record = TenantRecord(name: "a", limits: TenantLimits(weight: 2), createdAt: 5, keys: [key])
        #expect(control.administration.restored.withLock { $0.map(\.record) } == [record])
        let kept = #"{"role":"metrics","hash":"\#(hash)","created_at":6}"#
        #expect(status(try await ask("PUT /admin/keys/locum-x", kept)) == 200)
        #expect(control.administration.restoredKeys.withLock { $0 } == [BackupIndex.Key(key, role: .metrics)])
        for wrong in [#"{"role":"metrics"}"#, #"{"hash":"\#(hash)"}"#, #"{"role":"metrics","hash":"zz"}"#] {
            #expect(status(try await ask("PUT /admin/keys/locum-x", wrong)) == 400, "\(wrong)")
        }
        for wrong in [#"{"keys":[{"id":"x"}]}"#, #"{"keys":[{"id":"x","hash":"zz"}]}"#, #"{"limits":{"weight":0}}"#] {
            #expect(status(try await ask("PUT /admin/tenants/a", wrong)) == 400, "\(wrong)")
        }
    }
}

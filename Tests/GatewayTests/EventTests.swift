// Request ids and events on the wire.
import FunctionModel
import Glibc
import HTTPTypes
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing
import Wire

@testable import ControlPlane
@testable import Gateway

@Suite struct EventTests {
    private func id(_ answer: String) -> String? {
        let line = answer.split(separator: "\r\n").first { $0.lowercased().hasPrefix("x-request-id: ") }
        return line.map { String($0.dropFirst("x-request-id: ".count)) }
    }

    @Test("A request keeps its name where that can stand in a line, and gets one where not")
    func requestIDs() async throws {
        let gateway = await RunningGateway()
        func ask(_ given: String?, _ path: String = "/v1/models") async throws -> String? {
            let field = given.map { "X-Request-Id: \($0)\r\n" } ?? ""
            return id(
                try await gateway.exchange(
                    "GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(field)Connection: close\r\n\r\n"))
        }
        for given in ["a", "req_1.2-3:4/5+6=7@8~9", String(repeating: "x", count: 128)] {
            #expect(try await ask(given) == given)
            #expect(try await ask(given, "/nowhere") == given)
        }
        var made: Set<String> = []
        for given in [nil, "", "a b", "a\tb", "a,b", "é", "\"", "a\u{1}b", String(repeating: "x", count: 129)] {
            let id = try await ask(given)
            // Some of these are not even HTTP.
            guard let id else { continue }
            #expect(id != given && RequestID(id) != nil && id.utf8.count == 32, "\(id)")
            made.insert(id)
        }
        #expect(made.count >= 6)
        let streamed = try await gateway.post(
            "/v1/completions", #"{"model":"m","prompt":"x","stream":true}"#,
            headers: "Content-Type: application/json\r\nX-Request-Id: mine\r\n")
        #expect(id(streamed) == "mine")
    }

    @Test("Events are lines of JSON; a follower gets those to come, and leaves without a trace")
    func events() async throws {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let control = FakeControl()
        let path = "/tmp/locum-events-\(getpid()).sock"
        unlink(path)
        defer { unlink(path) }
        let gateway = Gateway(control: control, group: MultiThreadedEventLoopGroup.singleton, logger: logger)
        let (up, sink) = AsyncStream<Void>.makeStream()
        Task { try await gateway.serveAdministration(.path(path)) { sink.finish() } }
        for await _ in up {}
        control.events.add(.deploy, "m", "m was deployed \"well\"")
        let one = try await blocking {
            let client = Client(path: path)
            client.send("GET /admin/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return client.readAnswer()
        }
        let line = #"{"kind":"deploy","message":"m was deployed \"well\"","number":1,"subject":"m","time":7}"#
        #expect(status(one) == 200 && one.contains(line + "\n"))
        let two = try await blocking {
            let client = Client(path: path)
            client.send("GET /admin/events?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
            let first = client.readAnswer(until: line)
            control.events.add(.tenant, "a", "tenant a was made")
            return first + client.readAnswer(until: "tenant a was made")
        }
        #expect(two.contains(line) && two.contains(#""number":2"#))
        for (name, function) in [("m/L00-E000", "m/L00-E000"), ("mm", "mm/router")] {
            control.logs.add {
                LogReport(
                    number: $0, time: 8, level: "warning", message: "about \(name)", fields: ["function": function])
            }
        }
        control.logs.add {
            LogReport(number: $0, time: 8, level: "info", message: "deployed m, revision 1", fields: [:])
        }
        for (query, numbers) in [
            ("", [1, 2, 3]), ("?function=m", [1, 3]), ("?function=m%2FL00-E000", [1]), ("?function=mm", [2]),
            ("?function=x", []),
        ] {
            let answer = try await blocking {
                let client = Client(path: path)
                client.send("GET /admin/logs\(query) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return client.readAnswer()
            }
            #expect((1...3).filter { answer.contains("\"number\":\($0),") } == numbers, "\(query): \(answer)")
        }
        // It has left; and whoever follows when the daemon ends comes to an end, too.
        for _ in 0..<500 where gateway.requests.close() > 0 { usleep(10_000) }
        #expect(gateway.requests.close() == 0)
    }
}

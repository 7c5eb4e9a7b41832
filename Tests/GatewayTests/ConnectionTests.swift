// Clients that do not behave like most: they say nothing, stop halfway, close their side early, or are many.
import Glibc
import NIOCore
import Synchronization
import Testing

@testable import Gateway

@Suite struct ConnectionTests {
    private let body = #"{"model":"m","prompt":"ab"}"#
    private let limits = ConnectionLimits(request: .milliseconds(300), idle: .milliseconds(700))

    private func head(_ length: Int) -> String {
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: \(length)\r\n\r\n"
    }
    private var request: String { head(body.utf8.count) + body }

    /// What comes after `text` was sent, and after how long the server closed.
    private func answer(_ gateway: RunningGateway, to text: String) async throws -> (String, Duration) {
        try await blocking { [port = gateway.port] in
            let client = Client(port: port)
            let begin = ContinuousClock.now
            client.send(text)
            return (client.readAnswer(), ContinuousClock.now - begin)
        }
    }

    @Test("Half a head and half a body get 408 and the connection ends; one that says nothing just ends")
    func halves() async throws {
        let gateway = await RunningGateway(limits)
        let expected = [
            ("", ""), ("POST /v1/comp", "HTTP/1.1 408 Request Timeout"),
            (head(100), "HTTP/1.1 408 Request Timeout"), (head(100) + "{", "HTTP/1.1 408 Request Timeout"),
        ]
        for (text, status) in expected {
            let (answer, took) = try await answer(gateway, to: text)
            #expect(answer.prefix { !$0.isNewline } == status, "\(text)")
            #expect(status.isEmpty || answer.contains(#""code":"timeout""#))
            #expect(took > .milliseconds(250) && took < .seconds(5), "\(text)")
        }
    }

    @Test("A body that comes on slowly is waited for")
    func slowly() async throws {
        let gateway = await RunningGateway(ConnectionLimits(request: .seconds(1), idle: .seconds(2)))
        let (port, body, head) = (gateway.port, body, head(body.utf8.count))
        let answer = try await blocking {
            let client = Client(port: port)
            client.send(head)
            for byte in body {
                usleep(60_000)
                client.send(String(byte))
            }
            return client.readAnswer(until: "total_tokens")
        }
        #expect(answer.hasPrefix("HTTP/1.1 200"))
    }

    @Test("A connection that is kept for the next request ends after the idle time, and not before")
    func idle() async throws {
        let (answer, took) = try await answer(await RunningGateway(limits), to: request)
        #expect(answer.hasPrefix("HTTP/1.1 200") && !answer.contains("HTTP/1.1 408"))
        #expect(took > .milliseconds(650) && took < .seconds(5))
    }

    @Test("An answer under way is never cut off, streamed or not")
    func underWay() async throws {
        for (mood, stream) in [(FakeControl.Mood.hangs, false), (.hangsLater, true)] {
            let gateway = await RunningGateway(limits)
            gateway.control.mood.withLock { $0 = mood }
            let body = #"{"model":"m","prompt":"ab","stream":\#(stream)}"#
            // Sent together with one that is answered at once.
            let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + head(body.utf8.count) + body
            let (ended, cancelled) = try await blocking {
                let client = Client(port: gateway.port)
                client.send(request)
                return (client.isClosed(after: 1_200_000), gateway.control.cancelled.withLock { $0 })
            }
            #expect(!ended)
            #expect(cancelled == 0)
        }
    }

    @Test("A client that closes its side behind the request gets its answer, streamed or not")
    func halfClosed() async throws {
        let gateway = await RunningGateway()
        for stream in [false, true] {
            let body = #"{"model":"m","prompt":"ab","stream":\#(stream)}"#
            for version in ["1.1", "1.0"] {
                let text = (head(body.utf8.count) + body).replacing("HTTP/1.1", with: "HTTP/\(version)")
                let answer = try await blocking { [port = gateway.port] in
                    let client = Client(port: port)
                    client.send(text)
                    client.closeSending()
                    return client.readAnswer()
                }
                #expect(answer.contains(" 200 OK"), "\(answer)")
                #expect(answer.contains(stream ? "data: [DONE]" : "total_tokens"), "\(answer)")
            }
        }
    }

    @Test("Of more clients than may be there at once, those that have their answer make room for others")
    func many() async throws {
        let gateway = await RunningGateway(ConnectionLimits(connections: 4, rest: .milliseconds(100)))
        let (port, request) = (gateway.port, request)
        let (idle, answers) = try await blocking {
            // Silent ones are in nobody's way.
            let idle = (0..<12).map { _ in Client(port: port) }
            let held = (0..<16).map { _ in Client(port: port) }
            for client in held { client.send(request) }
            let answers = held.map { $0.readAnswer(until: "total_tokens") }
            // By now or very soon.
            let closed = idle.filter { client in (0..<500).contains { _ in client.isClosed(after: 10_000) } }
            return (closed.count, answers.count { $0.hasPrefix("HTTP/1.1 200") })
        }
        #expect(answers == 16)
        #expect(idle == 12)
    }

    @Test("Clients whose answers are under way keep their places; others wait until one leaves")
    func busy() async throws {
        let gateway = await RunningGateway(ConnectionLimits(connections: 4, rest: .milliseconds(100)))
        gateway.control.mood.withLock { $0 = .hangs }
        let (port, request) = (gateway.port, request)
        let asked = try await blocking {
            var held = (0..<16).map { _ in Client(port: port) }
            for client in held { client.send(request) }
            for _ in 0..<500 where gateway.control.asked.withLock({ $0 }) < 4 { usleep(10_000) }
            usleep(300_000)
            let early = gateway.control.asked.withLock { $0 }
            held.removeFirst(8)
            for _ in 0..<500 where gateway.control.asked.withLock({ $0 }) < 9 { usleep(10_000) }
            return (early, gateway.control.asked.withLock { $0 })
        }
        // The listener takes a few at a time before it looks.
        #expect((4...8).contains(asked.0))
        #expect(asked.1 > asked.0)
    }

    @Test("A head that comes a byte at a time has its time as a whole, and a body, too")
    func slowLoris() async throws {
        let gateway = await RunningGateway(ConnectionLimits(request: .milliseconds(300), idle: .seconds(60)))
        for (start, least, most) in [("GET /health HTTP/1.1\r\nX-A: ", 0.25, 2.0), (head(5000), 2.5, 6.0)] {
            let (answer, took) = try await blocking { [port = gateway.port] in
                let client = Client(port: port)
                let begin = ContinuousClock.now
                client.send(start)
                for _ in 0..<100 where !client.hasAnswer {
                    usleep(100_000)
                    client.send("a")
                }
                return (client.readAnswer(), (ContinuousClock.now - begin) / .seconds(1))
            }
            #expect(answer.hasPrefix("HTTP/1.1 408"), "\(answer)")
            #expect(took > least && took < most, "\(start): \(took)")
        }
    }

    @Test("More or longer headers than any client sends are refused, and the connection ends soon")
    func headerFlood() async throws {
        let gateway = await RunningGateway()
        let many = (0..<200).map { "X-\($0): a\r\n" }.joined()
        let long = "X-A: " + String(repeating: "a", count: 40_000) + "\r\n"
        for flood in [many, long] {
            let text = "GET /health HTTP/1.1\r\nHost: localhost\r\n\(flood)\r\n"
            let (answer, took) = try await self.answer(gateway, to: text)
            #expect(answer.hasPrefix("HTTP/1.1 400"), "\(answer)")
            #expect(took < .seconds(3))
        }
    }

    @Test("A name in a path is told as it was meant, and one that is no text is refused")
    func names() async throws {
        let gateway = await RunningGateway()
        func get(_ path: String) async throws -> String {
            try await gateway.exchange("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        }
        #expect(try await get("/v1/models/a%20b%2Fc").contains("no model is named a b/c"))
        #expect(try await get("/v1/models/%6d").contains(#""id":"m""#))
        #expect(try await get("/v1/models/%ff").hasPrefix("HTTP/1.1 400"))
    }
}

// The caller's side of a link to a router, against a router played by hand at the other end of the socket.
import Glibc
import Syscall
import Testing
import Wire

@testable import ControlPlane

@Suite("Router client")
struct RouterClientTests {
    /// The router's end: commands in, events out.
    private final class PlayedRouter: Sendable {
        let socket: Descriptor
        init(_ socket: Descriptor) { self.socket = socket }

        /// The next command, nil when the client left. Blocks, so it runs on a thread of its own.
        func next() async throws -> (sequence: UInt64, command: RouterCommand)? {
            try await OwnThread.run { [socket] in
                Result { () -> (UInt64, RouterCommand)? in
                    var assembler = RouterAssembler()
                    while let packet = try Seqpacket.receive(socket.raw) {
                        let frame = try RouterFrame(frame: packet.bytes)
                        if let whole = try assembler.add(frame) {
                            return (frame.sequence, try RouterCommand(frame: whole))
                        }
                    }
                    return nil
                }
            }.get()
        }

        func say(_ event: RouterEvent, to sequence: UInt64) throws {
            for frame in RouterFrame.cut(event, sequence: sequence) { try Seqpacket.send(socket.raw, frame.frame) }
        }

        func hangUp() { shutdown(socket.raw, Int32(SHUT_RDWR)) }
    }

    private func pair() throws -> (RouterClient, PlayedRouter) {
        let (mine, theirs) = try Seqpacket.pair()
        return (try RouterClient(socket: mine), PlayedRouter(theirs))
    }

    private func spec(_ text: String) -> GenerateSpec { GenerateSpec(prompt: .text(text)) }

    private func all(_ stream: AsyncStream<RouterUpdate>) async -> [RouterUpdate] {
        var updates: [RouterUpdate] = []
        for await update in stream { updates.append(update) }
        return updates
    }

    @Test("Sequences share a link, and each stream gets its own events to its end", .timeLimit(.minutes(1)))
    func streams() async throws {
        let (client, router) = try pair()
        let (a, b) = (client.start(spec("a")), client.start(spec("b")))
        let first = try #require(try await router.next())
        let second = try #require(try await router.next())
        #expect(first.command == .generate(spec("a")) && second.command == .generate(spec("b")))
        let long = RouterEvent.started(
            prompt: Array(0..<40_000), text: String(repeating: "é", count: 50_000), cached: 7)
        try router.say(long, to: second.sequence)
        try router.say(.token(index: 0, id: 5, text: "x", score: nil), to: first.sequence)
        try router.say(.finished(.length, text: "", tokens: 1), to: first.sequence)
        try router.say(.failed(code: "busy", parameter: "", message: "later"), to: second.sequence)
        #expect(
            await all(a) == [
                .event(.token(index: 0, id: 5, text: "x", score: nil)), .event(.finished(.length, text: "", tokens: 1)),
            ])
        #expect(await all(b) == [.event(long), .event(.failed(code: "busy", parameter: "", message: "later"))])
        #expect(!client.isLost)
    }

    @Test("A request larger than the socket's room arrives whole", .timeLimit(.minutes(1)))
    func large() async throws {
        let (client, router) = try pair()
        let request = spec(String(repeating: "long ", count: 400_000))
        let stream = client.start(request)
        let got = try #require(try await router.next())
        #expect(got.command == .generate(request))
        try router.say(.finished(.stop, text: "", tokens: 0), to: got.sequence)
        #expect(await all(stream).count == 1)
    }

    @Test(
        "Cancelling the reader or dropping the stream cancels the sequence, finishing does not", .timeLimit(.minutes(1))
    )
    func cancels() async throws {
        let (client, router) = try pair()
        let done = client.start(spec("done"))
        let finished = try #require(try await router.next())
        try router.say(.finished(.stop, text: "", tokens: 0), to: finished.sequence)
        #expect(await all(done).count == 1)

        let task = Task { [stream = client.start(spec("a"))] in await all(stream) }
        let started = try #require(try await router.next())
        task.cancel()
        let cancelled = try #require(try await router.next())
        #expect(cancelled.sequence == started.sequence && cancelled.command == .cancel)
        _ = await task.value

        _ = client.start(spec("dropped"))
        let dropped = try #require(try await router.next())
        let end = try #require(try await router.next())
        #expect(end.sequence == dropped.sequence && end.command == .cancel)
        // What the router said before it heard of it goes nowhere.
        try router.say(.token(index: 0, id: 1, text: "", score: nil), to: dropped.sequence)
    }

    @Test("When the router dies every open stream says so, and so does every later one", .timeLimit(.minutes(1)))
    func lost() async throws {
        let (client, router) = try pair()
        let streams = [client.start(spec("a")), client.start(spec("b"))]
        _ = try await router.next()
        _ = try await router.next()
        router.hangUp()
        for stream in streams {
            let updates = await all(stream)
            guard case .lost = updates.last, updates.count == 1 else {
                Issue.record("\(updates)")
                continue
            }
        }
        #expect(client.isLost)
        guard case .lost = await all(client.start(spec("c"))).first else {
            Issue.record("not lost")
            return
        }
    }

    @Test("A router that talks nonsense counts as lost", .timeLimit(.minutes(1)))
    func nonsense() async throws {
        for frame: [UInt8] in [[7], RouterFrame(sequence: 1, last: true, part: [1, 99]).frame] {
            let (client, router) = try pair()
            let stream = client.start(spec("a"))
            _ = try await router.next()
            try Seqpacket.send(router.socket.raw, frame)
            guard case .lost = await all(stream).last else {
                Issue.record("not lost")
                return
            }
        }
    }

    @Test("Closing ends the link and its streams; so does letting go of the client", .timeLimit(.minutes(1)))
    func closes() async throws {
        let (client, router) = try pair()
        let stream = client.start(spec("a"))
        _ = try await router.next()
        client.close()
        guard case .lost = await all(stream).last else {
            Issue.record("not lost")
            return
        }
        #expect(try await router.next() == nil)
        let other: PlayedRouter
        do {
            let (short, router) = try pair()
            #expect(!short.isLost)
            other = router
        }
        #expect(try await other.next() == nil)
    }
}

// Streams that nothing disturbs: routers here die, drain and refuse at chosen moments, and the client's stream
// must be the one of a router that lived.
import FunctionModel
import Scheduler
import Synchronization
import Testing
import Wire

@testable import ControlPlane

/// A router that says "t0 t1 t2 …" and can be told to end badly.
final class FakeRouter: RouterAccess {
    enum Fate: Sendable {
        case lives
        /// Is lost after so many new tokens.
        case dies(after: Int)
        case refuses(code: String)
        /// Refuses so many sequences.
        case isBusy(times: Int)
        /// Says what it has started and then nothing, until the stream is dropped.
        case hangs
        /// Behind what it has started.
        case says([RouterEvent])
    }
    let fate: Fate
    let specs = Mutex<[GenerateSpec]>([])
    let cancelled = Mutex(0)
    let startCost = StartCost(map: 1)
    private let open = Mutex(true)
    init(_ fate: Fate) { self.fate = fate }

    var isOpen: Bool { open.withLock { $0 } }

    func start(_ spec: GenerateSpec, cost: @escaping @Sendable (SequenceCost) -> Void) -> AsyncStream<RouterUpdate> {
        specs.withLock { $0.append(spec) }
        let (stream, sink) = AsyncStream<RouterUpdate>.makeStream()
        if case .refuses(let code) = fate {
            sink.yield(.event(.failed(code: code, parameter: "", message: code)))
            sink.finish()
            return stream
        }
        if case .isBusy(let times) = fate, specs.withLock({ $0.count }) <= times {
            sink.yield(.event(.failed(code: "busy", parameter: "", message: "full")))
            sink.finish()
            return stream
        }
        sink.yield(.event(.started(prompt: [1, 2, 3], text: "abc", cached: 0)))
        if case .says(let events) = fate {
            for event in events { sink.yield(.event(event)) }
            sink.finish()
            return stream
        }
        if spec.promptScores {
            // In two parts, as a real router sends them.
            let score = TokenScore(token: ScoredToken(id: 1, bytes: [65], logprob: -1), top: [])
            sink.yield(.event(.promptScores(first: 0, [score, score])))
            sink.yield(.event(.promptScores(first: 2, [score])))
        }
        let most = Int(spec.maxTokens ?? 10)
        for index in spec.resumed.count..<most {
            if case .dies(let after) = fate, index - spec.resumed.count >= after {
                open.withLock { $0 = false }
                sink.yield(.lost(reason: "killed"))
                sink.finish()
                return stream
            }
            if case .hangs = fate {
                sink.onTermination = { [weak self] in if case .cancelled = $0 { self?.cancelled.withLock { $0 += 1 } } }
                return stream
            }
            sink.yield(.event(.token(index: UInt32(index), id: Int32(100 + index), text: "t\(index) ", score: nil)))
        }
        sink.yield(.event(.finished(.length, text: "", tokens: UInt32(most))))
        sink.finish()
        return stream
    }
}

/// Hands out routers in order; the last again and again.
private func sequences(
    _ routers: [FakeRouter], controller: Controller, tenants: Tenants? = nil
) throws -> (Sequences, @Sendable () -> Int) {
    let used = Mutex(0)
    let box = Box(used)
    let tenants = try tenants ?? noTenants()
    let sequences = Sequences(controller: controller, tenants: tenants, firstPause: .milliseconds(1)) {
        _ throws(RouterUnavailable) in
        let index = box.value.withLock { value in
            defer { value += 1 }
            return value
        }
        return routers[min(index, routers.count - 1)]
    }
    return (sequences, { box.value.withLock { $0 } })
}

private final class Box: Sendable {
    let value: Mutex<Int>
    init(_ value: consuming Mutex<Int>) { self.value = value }
}

private func collect(_ stream: AsyncStream<RouterEvent>?) async -> [RouterEvent] {
    var events: [RouterEvent] = []
    if let stream { for await event in stream { events.append(event) } }
    return events
}

private let spec = GenerateSpec(prompt: .text("abc"), maxTokens: 10)
private let score = TokenScore(token: ScoredToken(id: 1, bytes: [65], logprob: -1), top: [])

@Suite struct SequenceTests {
    @Test("However often its router dies, a stream is that of an undisturbed run")
    func undisturbed() async throws {
        let (controller, _) = try await plane()
        let whole = await collect(
            try await sequences([FakeRouter(.lives)], controller: controller).0.generate("m", [spec], for: .local).first
        )
        #expect(whole.count == 12)
        for step in 1...4 {
            let routers = (0..<12).map { _ in FakeRouter(.dies(after: step)) } + [FakeRouter(.lives)]
            let (service, _) = try sequences(routers, controller: controller)
            #expect(await collect(try await service.generate("m", [spec], for: .local).first) == whole)
        }
    }

    @Test("A replay sends the prompt's ids and the output's ids, never the text again")
    func replaysIDs() async throws {
        let (controller, _) = try await plane()
        let second = FakeRouter(.lives)
        let (service, _) = try sequences([FakeRouter(.dies(after: 4)), second], controller: controller)
        _ = await collect(try await service.generate("m", [spec], for: .local).first)
        let replayed = try #require(second.specs.withLock { $0 }.first)
        #expect(replayed.prompt == .tokens([1, 2, 3]))
        #expect(replayed.resumed == [100, 101, 102, 103])
    }

    @Test("Scores of the prompt come once, also when the router dies before or behind them")
    func promptScores() async throws {
        let (controller, _) = try await plane()
        var scored = spec
        scored.promptScores = true
        scored.maxTokens = 3
        let whole = await collect(
            try await sequences([FakeRouter(.lives)], controller: controller).0.generate("m", [scored], for: .local)
                .first)
        for after in [0, 1, 2] {
            let (service, _) = try sequences(
                [FakeRouter(.dies(after: after)), FakeRouter(.lives)], controller: controller)
            #expect(await collect(try await service.generate("m", [scored], for: .local).first) == whole)
        }
    }

    @Test(
        "A router that says what no honest one says is ended, and the stream with a clear error",
        arguments: [
            // What once ended control: positions whose sum leaves 32 bits.
            [RouterEvent.promptScores(first: .max, [score]), .promptScores(first: .max, [score, score])],
            [.promptScores(first: 1, [score])], [.promptScores(first: 0, [score, score, score, score])],
            [.token(index: 1, id: 5, text: "x", score: nil)], [.token(index: .max, id: 5, text: "x", score: nil)],
            (0..<11).map { .token(index: $0, id: 5, text: "x", score: nil) },
            (0..<5).map { .token(index: $0, id: 5, text: String(repeating: "x", count: 4 << 20), score: nil) },
            [.trace(position: 0, logits: [], router: [], experts: [], weights: [])],
            [.routes(step: 0, [], experts: [])],
        ])
    func nonsense(events: [RouterEvent]) async throws {
        let (controller, _) = try await plane()
        var scored = spec
        scored.promptScores = true
        let (service, used) = try sequences([FakeRouter(.says(events)), FakeRouter(.lives)], controller: controller)
        let seen = await collect(try await service.generate("m", [scored], for: .local).first)
        guard case .failed("broken", _, let message)? = seen.last, message.contains("was ended") else {
            Issue.record("ended with \(String(describing: seen.last))")
            return
        }
        #expect(seen.count <= events.count + 1 && used() == 1)
    }

    @Test("A router that never stops, asked for no number of tokens, is ended where the model's context ends")
    func endless() async throws {
        let (controller, _) = try await plane()
        let tokens = (0..<1000).map { RouterEvent.token(index: $0, id: 5, text: "x", score: nil) }
        let (service, _) = try sequences([FakeRouter(.says(tokens))], controller: controller)
        let seen = await collect(
            try await service.generate("m", [GenerateSpec(prompt: .text("abc"))], for: .local).first)
        // The model of these tests holds 128 tokens.
        #expect(seen.count == 130)
        guard case .failed("broken", _, _)? = seen.last else {
            Issue.record("ended with \(String(describing: seen.last))")
            return
        }
    }

    @Test("A router that drains is no error for the client", arguments: ["draining", "unavailable"])
    func passing(code: String) async throws {
        let (controller, _) = try await plane()
        let (service, used) = try sequences(
            [FakeRouter(.refuses(code: code)), FakeRouter(.lives)], controller: controller)
        #expect(
            await collect(try await service.generate("m", [spec], for: .local).first).last
                == .finished(.length, text: "", tokens: 10))
        #expect(used() == 2)
    }

    @Test("A busy router is asked again and stays the model's router")
    func busy() async throws {
        let (controller, _) = try await plane()
        let (service, used) = try sequences([FakeRouter(.isBusy(times: 3))], controller: controller)
        #expect(
            await collect(try await service.generate("m", [spec], for: .local).first).last
                == .finished(.length, text: "", tokens: 10))
        #expect(used() == 1)
    }

    @Test("What the router refuses for good reaches the client as it is")
    func refusal() async throws {
        let (controller, _) = try await plane()
        let (service, used) = try sequences(
            [FakeRouter(.refuses(code: "context_length_exceeded"))], controller: controller)
        let events = await collect(try await service.generate("m", [spec], for: .local).first)
        #expect(events == [.failed(code: "context_length_exceeded", parameter: "", message: "context_length_exceeded")])
        #expect(used() == 1)
    }

    @Test("After five tries without a token a stream ends with an error, not with silence")
    func givesUp() async throws {
        let (controller, _) = try await plane()
        let (service, used) = try sequences(
            (0..<20).map { _ in FakeRouter(.refuses(code: "crashed")) }, controller: controller)
        let events = await collect(try await service.generate("m", [spec], for: .local).first)
        guard case .failed("unavailable", _, _)? = events.last else {
            Issue.record("ended with \(String(describing: events.last))")
            return
        }
        #expect(used() == Sequences.mostTries + 1)
    }

    @Test("A model that is not there is not found, before anything is acquired")
    func notFound() async throws {
        let (controller, _) = try await plane()
        let (service, used) = try sequences([FakeRouter(.lives)], controller: controller)
        let error = await #expect(throws: ControlFailure.self) { try await service.generate("n", [spec], for: .local) }
        #expect(error?.code == "not_found" && used() == 0)
    }

    @Test("A stream whose model was removed meanwhile ends with an error instead of another model's tokens")
    func modelChanged() async throws {
        let (controller, _) = try await plane()
        let routers = [FakeRouter(.dies(after: 3)), FakeRouter(.lives)]
        let used = Mutex(0)
        let service = Sequences(controller: controller, tenants: try noTenants(), firstPause: .milliseconds(1)) {
            _ throws(RouterUnavailable) in
            let index = used.withLock { used in
                defer { used += 1 }
                return used
            }
            if index == 1 { _ = try? await controller.remove("m") }
            return routers[index]
        }
        let events = await collect(try await service.generate("m", [spec], for: .local).first)
        #expect(events.count == 5)
        guard case .failed("model_changed", "model", _)? = events.last else {
            Issue.record("ended with \(String(describing: events.last))")
            return
        }
    }

    @Test("As many sequences run as a router takes, as many wait as the queue holds, one more is refused")
    func bounded() async throws {
        let (controller, _) = try await plane()
        let router = FakeRouter(.hangs)
        let (service, _) = try sequences([router], controller: controller)
        var streams = try await service.generate("m", [spec, spec, spec], for: .local)
        #expect(throws: Never.self) { streams.count == 3 }
        let error = await #expect(throws: ControlFailure.self) {
            try await service.generate("m", [spec, spec], for: .local)
        }
        #expect(error?.code == "queue_full")
        streams += try await service.generate("m", [spec], for: .local)
        try await waitUntil { router.specs.withLock { $0.count } == 2 }
        #expect(service.load.active == 2 && service.load.waiting == 2)
        // Dropping them ends them, and makes room.
        streams = []
        try await waitUntil { service.load == (0, 0) }
        _ = try await service.generate("m", [spec, spec, spec, spec], for: .local)
    }

    @Test("A stream that is dropped cancels its sequence in the router")
    func cancels() async throws {
        let (controller, _) = try await plane()
        let router = FakeRouter(.hangs)
        let (service, _) = try sequences([router], controller: controller)
        let task = Task { await collect(try await service.generate("m", [spec], for: .local).first) }
        try await waitUntil { router.specs.withLock { $0.count } == 1 }
        task.cancel()
        try await waitUntil { router.cancelled.withLock { $0 } == 1 }
        try await waitUntil { service.load == (0, 0) }
    }

    @Test("Turns are given in order of arrival, and a place comes back whoever leaves how")
    func gate() async throws {
        let gate = SequenceGate(atOnce: 1, queue: 50)
        let order = OrderLog()
        #expect(gate.reserve(51, of: "a"))
        #expect(!gate.reserve(1, of: "a"))
        #expect(await gate.enter("a", FairShare()))
        var tasks: [Task<Void, Never>] = []
        for index in 0..<50 {
            tasks.append(
                Task {
                    if await gate.enter("a", FairShare()) {
                        order.add(index)
                        gate.leave("a")
                    } else {
                        gate.abandon("a")
                    }
                })
            try await waitUntil { gate.waiting == index + 1 }
        }
        for index in stride(from: 0, to: 50, by: 3) { tasks[index].cancel() }
        try await waitUntil { gate.load.waiting == 33 }
        gate.leave("a")
        for task in tasks { await task.value }
        #expect(order.values == (0..<50).filter { $0 % 3 != 0 })
        #expect(gate.load == (0, 0))
        #expect(gate.reserve(51, of: "a"))
    }
}

private final class OrderLog: Sendable {
    private let log = Mutex<[Int]>([])
    func add(_ value: Int) { log.withLock { $0.append(value) } }
    var values: [Int] { log.withLock { $0 } }
}

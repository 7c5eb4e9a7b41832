// Experts called over real links: the same bits as in one process, whatever happens to the instances.
import Foundation
import Link
import ModelImport
import Testing

@testable import Worker

@Suite("Calling experts over links", .serialized)
struct LinkDispatcherTests {
    private static func engine(_ model: NanoModel, _ node: FakeNode, threads: Int) throws -> Engine {
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(threads)))
        let dispatcher = try LinkDispatcher(connection: node.connection, config: model.config, threads: pool.count)
        return try Engine(shard: model.router, config: model.config, pool: pool, dispatcher: dispatcher)
    }

    @Test("Links give the bits of one process, in every grouping", arguments: [(1, 1), (4, 1), (0, 0)], [1, 2])
    func sameBits(_ group: (experts: Int, layers: Int), lanes: Int) throws {
        let ids = EngineInvarianceTests.prompt(60)
        for form in ["qwen2moe", "gguf/qwen2moe.Q8_0.gguf"] {
            let options = ImportOptions(
                expertsPerFunction: group.experts, layersPerFunction: group.layers, kvType: "f32")
            let model = try NanoModel(form, options)
            let expected = try Run(try model.engine(), ids, chunk: 40).logits
            let node = try FakeNode(model, lanes: lanes)
            let engine = try Self.engine(model, node, threads: lanes)
            #expect(try Run(engine, ids, chunk: 40).logits == expected)
            #expect(try Run(engine, Array(ids.prefix(10)), chunk: 1).logits == Array(expected.prefix(10)))
        }
    }

    @Test("Instances killed at random moments are acquired again and the bits stay")
    func kills() throws {
        let ids = EngineInvarianceTests.prompt(30)
        let options = ImportOptions(expertsPerFunction: 4, kvType: "f32")
        let model = try NanoModel("qwen2moe", options)
        let expected = try Run(try model.engine(), ids, chunk: 3).logits
        let node = try FakeNode(model, lanes: 2)
        let engine = try Self.engine(model, node, threads: 2)
        let over = FutexWord()
        let killed = FutexWord()
        let killer = Thread {
            var turn = 0
            while over.value == 0 {
                let live = node.live
                if !live.isEmpty, turn % 2 == 0 || live.count > 2 {
                    node.kill(live[turn * 7 % live.count])
                    killed.add(1)
                }
                turn += 1
                usleep(2000)
            }
            over.store(2)
            over.wake()
        }
        killer.start()
        defer {
            over.store(1)
            while over.value == 1 { over.sleep(while: 1, nanoseconds: 1_000_000) }
        }
        for _ in 0..<4 { #expect(try Run(engine, ids, chunk: 3).logits == expected) }
        #expect(killed.value > 10)
        #expect(node.started > 16)
    }

    @Test("Drained instances are let go between steps, and their functions acquired again")
    func drains() throws {
        let ids = EngineInvarianceTests.prompt(12)
        let model = try NanoModel("qwen2moe", ImportOptions(expertsPerFunction: 0, kvType: "f32"))
        let expected = try Run(try model.engine(), ids).logits
        let node = try FakeNode(model, lanes: 2)
        let engine = try Self.engine(model, node, threads: 2)
        #expect(try Run(engine, ids).logits == expected)
        #expect(node.started == 4)
        for function in node.live { try node.drain(function) }
        #expect(try node.connection.poll())
        engine.dropRevoked()
        #expect(node.connection.revoked.isEmpty)
        #expect(try Run(engine, ids).logits == expected)
        #expect(node.started == 8)
    }

    @Test("A function whose instances always die fails the step with a reason, and the engine goes on")
    func hopeless() throws {
        let ids = EngineInvarianceTests.prompt(5)
        let model = try NanoModel("qwen2moe", ImportOptions(expertsPerFunction: 0, kvType: "f32"))
        let expected = try Run(try model.engine(), ids).logits
        let node = try FakeNode(model, lanes: 1)
        let engine = try Self.engine(model, node, threads: 1)
        node.killsNext = 21
        #expect { _ = try Run(engine, ids) } throws: { ($0 as? EngineError)?.code == "function_failed" }
        #expect(node.killsNext == 1)
        node.killsNext = 0
        #expect(try Run(engine, ids).logits == expected)
    }
}

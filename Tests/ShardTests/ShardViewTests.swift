// What a plan writes, a view reads; what nobody wrote, a view refuses.
import Kernels
import Shard
import Testing

@Suite struct ShardViewTests {
    @Test("An expert shard gives back every matrix at its own page")
    func expertRoundTrip() throws {
        let bytes = PageBytes(shardBytes(try expertPlan()))
        let view = try ShardView(validating: bytes.raw)
        #expect(view.kind == .expert(hidden: 64, intermediate: 32, count: 2))
        #expect(view.entries.map(\.role) == [.expertGate, .expertUp, .expertDown, .expertGate, .expertUp, .expertDown])
        #expect(view.entries.allSatisfy { $0.offset % 4096 == 0 })
        let up = try view.matrix(.expertUp, expert: 1)
        #expect((up.format, up.rows, up.columns) == (.f16, 32, 64))
        #expect(up.base.load(as: UInt8.self) == 5)
        #expect(throws: ShardError.self) { try view.matrix(.expertUp, expert: 2) }
        #expect(throws: ShardError.self) { try view.vector(.expertUp, expert: 1) }
        #expect(view.blob(.config) == nil)
    }

    @Test("A router shard gives back blobs, vectors, rows and its configuration")
    func routerRoundTrip() throws {
        let bytes = PageBytes(try routerBytes())
        let view = try ShardView(validating: bytes.raw)
        #expect(try view.routerConfig() == sampleConfig())
        #expect(view.blob(.tokenizer).map(Array.init) == Array("token".utf8))
        #expect(view.blob(.template) == nil)
        #expect(try view.vector(.kBias, layer: 1).count == 32)
        let embedding = try view.rows(.tokenEmbedding)
        #expect((embedding.rows, embedding.stride) == (100, 68))
        #expect(embedding.row(99).map { $0.load(as: UInt8.self) } == 3)
        #expect(embedding.row(100) == nil)
        #expect(throws: ShardError.self) { try view.matrix(.tokenEmbedding) }
    }

    @Test("Equal contents give equal bytes in whatever order they are named")
    func orderDoesNotMatter() throws {
        let contents = (0..<3).flatMap { expert in
            [ShardRole.expertDown, .expertUp, .expertGate].map {
                ShardContent(
                    $0, expert: expert, format: .f32, rows: $0 == .expertDown ? 64 : 32,
                    cols: $0 == .expertDown ? 32 : 64)
            }
        }
        let kind = ShardKind.expert(hidden: 64, intermediate: 32, count: 3)
        let plan = try ShardPlan(kind: kind, contents: contents)
        #expect(try ShardPlan(kind: kind, contents: contents.reversed()).header == plan.header)
    }

    @Test("A plan refuses twins and impossible shapes")
    func badPlans() throws {
        let gate = ShardContent(.gate, format: .f32, rows: 4, cols: 64)
        #expect(throws: ShardError.self) { try ShardPlan(kind: .router, contents: [gate, gate]) }
        for content in [
            ShardContent(.q, format: .q8_0, rows: 4, cols: 33), ShardContent(.q, format: .f32, rows: 0, cols: 32),
            ShardContent(.qBias, format: .f16, rows: 1, cols: 32),
            ShardContent(.qBias, format: .f32, rows: 2, cols: 32),
            ShardContent(.q, format: .f32, rows: 1 << 25, cols: 32),
            ShardContent(.q, format: .f32, rows: 4, cols: 1 << 19),
        ] {
            #expect(throws: ShardError.self) { try ShardPlan(kind: .router, contents: [content]) }
        }
    }

    @Test("A router shard whose tensors do not fit its configuration is refused")
    func routerShapes() throws {
        let edits: [(String, (inout [ShardContent]) -> Void)] = [
            ("without an output matrix", { $0.removeAll { $0.role == .output } }),
            ("with one bias of three", { $0.removeAll { $0.role == .kBias } }),
            ("without the shared expert", { $0.removeAll { $0.role == .sharedUp } }),
            ("without a dense layer", { $0.removeAll { $0.role == .denseUp } }),
            (
                "with a narrow q",
                {
                    $0.removeAll { $0.role == .q && $0.layer == 1 }
                    $0.append(ShardContent(.q, layer: 1, format: .f32, rows: 48, cols: 64))
                }
            ),
        ]
        for (what, edit) in edits {
            let bytes = PageBytes(try routerBytes(edit: edit))
            let view = try ShardView(validating: bytes.raw)
            #expect(throws: ShardError.self, "\(what)") { try view.routerConfig() }
        }
        let bytes = PageBytes(try routerBytes(edit: { $0.removeAll { [.qBias, .kBias, .vBias].contains($0.role) } }))
        #expect(try ShardView(validating: bytes.raw).routerConfig() == sampleConfig(), "no bias at all is a model, too")
    }
}

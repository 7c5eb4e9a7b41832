// How experts are grouped changes names and numbers of functions, never a weight.
import FunctionModel
import ModelImport
import Shard
import Testing

@Suite struct GroupingTests {
    @Test(
        "Names and counts follow the grouping",
        arguments: [
            (1, 1, 64, ["L00-E000", "L00-E001"], "L03-E015"),
            (4, 1, 16, ["L00-E000-003", "L00-E004-007"], "L03-E012-015"),
            (5, 1, 16, ["L00-E000-004", "L00-E005-009"], "L03-E015"),
            (0, 1, 4, ["L00-E000-015", "L01-E000-015"], "L03-E000-015"),
            (0, 3, 2, ["L00-02-E000-015", "L03-E000-015"], "L03-E000-015"),
            (0, 0, 1, ["L00-03-E000-015"], "L00-03-E000-015"),
            (8, 0, 2, ["L00-03-E000-007", "L00-03-E008-015"], "L00-03-E008-015"),
            (99, 99, 1, ["L00-03-E000-015"], "L00-03-E000-015"),
        ])
    func names(_ experts: Int, _ layers: Int, _ count: Int, _ first: [String], _ last: String) throws {
        let options = ImportOptions(expertsPerFunction: experts, layersPerFunction: layers)
        let functions = try ModelFiles.gguf("qwen2moe.Q8_0").run(options).manifest.functions
        #expect(functions.count == 1 + count)
        #expect(functions.dropFirst().prefix(2).map(\.name) == first)
        #expect(functions.last?.name == last)
        #expect(functions.reduce(0) { $0 + $1.experts } == 64)
    }

    @Test("A layer without experts is skipped in groups and in the map")
    func dense() throws {
        let imported = try ModelFiles.folder("qwen2moe-norm").run(
            ImportOptions(expertsPerFunction: 0, layersPerFunction: 2))
        #expect(imported.manifest.functions.dropFirst().map(\.name) == ["L00-02-E000-015", "L03-E000-015"])
        let config = try imported.shard(0).view.routerConfig()
        #expect(config.place(layer: 1, expert: 0) == nil)
        #expect(config.place(layer: 2, expert: 3) == .init(function: 0, local: 19))
        #expect(config.place(layer: 3, expert: 3) == .init(function: 1, local: 3))
    }

    @Test("An expert's bytes are the same in whatever function it lies")
    func sameBytes() throws {
        let single = try ModelFiles.gguf("qwen2moe.Q8_0").run()
        let grouped = try ModelFiles.gguf("qwen2moe.Q8_0").run(
            ImportOptions(expertsPerFunction: 3, layersPerFunction: 3))
        let (one, many) = (try single.shard(0).view.routerConfig(), try grouped.shard(0).view.routerConfig())
        for layer in 0..<4 {
            for expert in 0..<16 {
                let a = try #require(one.place(layer: layer, expert: expert))
                let b = try #require(many.place(layer: layer, expert: expert))
                #expect((a.function, a.local) == (layer * 16 + expert, 0))
                let (aView, aBytes) = try single.shard(1 + a.function)
                let (bView, bBytes) = try grouped.shard(1 + b.function)
                for role in [ShardRole.expertGate, .expertUp, .expertDown] {
                    let x = try #require(aView.entry(role, expert: a.local))
                    let y = try #require(bView.entry(role, expert: b.local))
                    #expect(
                        aBytes[x.offset..<x.offset + x.length].elementsEqual(bBytes[y.offset..<y.offset + y.length]))
                }
            }
        }
    }

    @Test("The same model gives the same digests, and one changed expert changes one shard")
    func digests() throws {
        var files = try ModelFiles.folder("qwen2moe")
        let first = try files.run()
        #expect(try files.run().digests == first.digests)
        var image = try SafetensorsImage(files.files["model.safetensors"] ?? [])
        image["model.layers.2.mlp.experts.7.up_proj.weight"].data[1] ^= 1
        files.files["model.safetensors"] = try image.file()
        let second = try files.run()
        let changed = first.digests.indices.filter { first.digests[$0] != second.digests[$0] }
        #expect(changed.map { first.manifest.functions[$0].name } == ["L02-E007"])
    }

    @Test("Deploying what is there already writes nothing, and a changed expert writes one shard")
    func probing() throws {
        var files = try ModelFiles.gguf("qwen2moe.Q4_0")
        let first = try files.run()
        let again = MemorySink()
        again.known = Set(first.digests)
        let second = try files.run(ImportOptions(probe: true), sink: again)
        #expect(again.created == 0)
        #expect(second.digests == first.digests)
        #expect(second.manifest == first.manifest)
        #expect(again.progress.last.map { $0.0 == $0.1 } == true)

        // The last bytes of the file are the output matrix, which the router holds.
        let name = try #require(files.files.keys.first)
        var bytes = files.files[name] ?? []
        bytes[bytes.count - 1] ^= 1
        files.files[name] = bytes
        let changed = MemorySink()
        changed.known = Set(first.digests)
        _ = try files.run(ImportOptions(probe: true), sink: changed)
        #expect(changed.shards.keys.sorted() == [0])
    }

    @Test("Progress never goes back and ends at the total")
    func progress() throws {
        let imported = try ModelFiles.gguf("qwen2moe.Q8_0").run(ImportOptions(expertsPerFunction: 0))
        let steps = imported.sink.progress
        #expect(zip(steps, steps.dropFirst()).allSatisfy { $0.0 <= $1.0 && $0.1 == $1.1 })
        #expect(steps.last.map { $0.0 } == UInt64(imported.manifest.bytes))
    }
}

// A backup as a deployment's source: the same shards come out, and whatever is wrong with the file is said by name.
import Crypto
import FoundationEssentials
import FunctionModel
import ModelImport
import Testing

@Suite struct BackupTests {
    private let options = ImportOptions(name: "m", expertsPerFunction: 0)

    private func imported() throws -> Imported { try ModelFiles.gguf("qwen2moe.Q4_0").run(options) }

    /// A backup of what was imported, as `locum backup` lays it out.
    private func backup(_ made: Imported, edit: (inout BackupIndex) -> Void = { _ in }) throws -> [UInt8] {
        let functions = made.manifest.functions.enumerated().map { index, function in
            FunctionRecord(
                id: UInt64(index + 1), model: "m", index: index, name: "m/\(function.name)",
                runtime: index == 0 ? .router : .expert, digest: made.digests[index], bytes: function.bytes,
                experts: function.experts, node: "n")
        }
        let record = ModelRecord(
            name: "m", revision: 3, manifest: made.manifest,
            options: DeployRecord(expertsPerFunction: 0, layersPerFunction: 1, quantize: "", context: 0, kvType: "f16"),
            deployedAt: 1, node: "n", functions: functions)
        var index = BackupIndex(locum: "test", models: [BackupIndex.Model(record)], tenants: [])
        edit(&index)
        var bytes: [UInt8] = []
        func part(_ name: String, _ content: [UInt8]) {
            bytes += TarHeader.bytes(name: name, size: content.count) + content
            bytes += [UInt8](repeating: 0, count: TarHeader.padded(content.count) - content.count)
        }
        let json = Array(try JSONEncoder().encode(index))
        part(BackupIndex.entry(index: Hexadecimal.text(Array(SHA256.hash(data: json)))), json)
        for (shard, content) in made.sink.shards.sorted(by: { $0.key < $1.key }) {
            part(BackupIndex.entry(shard: Hexadecimal.text(made.sink.digests[shard] ?? [])), content)
        }
        return bytes + [UInt8](repeating: 0, count: 1024)
    }

    private func restore(_ bytes: [UInt8], sink: MemorySink = MemorySink(), name: String = "m") throws -> Imported {
        try ModelFiles(files: ["b.tar": bytes]).run(ImportOptions(name: name), sink: sink)
    }

    @Test("What was backed up comes back bit by bit, and what is there already is not written")
    func roundTrip() throws {
        let made = try imported()
        let bytes = try backup(made)
        let again = try restore(bytes)
        #expect(again.manifest == made.manifest)
        #expect(again.digests == made.digests)
        #expect(again.sink.shards == made.sink.shards)
        let sink = MemorySink()
        sink.known = Set(made.digests.dropFirst())
        #expect(try restore(bytes, sink: sink).digests == made.digests)
        #expect(sink.created == 1)
    }

    @Test("Headers say what was written into them, small and large")
    func headers() {
        for size in [0, 1, 511, 512, 1 << 33 - 1, 1 << 33, 1 << 45] {
            let header = TarHeader.read(TarHeader.bytes(name: "shards/ab", size: size))
            #expect(header?.name == "shards/ab" && header?.size == size)
        }
        #expect(TarHeader.read([UInt8](repeating: 0, count: 512)) == nil)
        #expect(TarHeader.read([1, 2]) == nil)
    }

    @Test("Every altered byte that counts is found and the file named; nothing traps", .timeLimit(.minutes(2)))
    func damage() throws {
        let made = try imported()
        let bytes = try backup(made)
        var random = LinearRandom(state: 5)
        var found = 0
        for _ in 0..<120 {
            var damaged = bytes
            let at = Int(random.next() % UInt64(bytes.count))
            damaged[at] ^= UInt8(truncatingIfNeeded: random.next() % 255 + 1)
            do {
                let again = try restore(damaged)
                // Filling.
                #expect(again.manifest == made.manifest && again.digests == made.digests)
            } catch let error as ImportError {
                found += 1
                #expect(error.message.contains("b.tar"), "\(error)")
            }
        }
        #expect(found > 100)
        for length in [513, 2000, bytes.count / 2, bytes.count - 1025] {
            let error = #expect(throws: ImportError.self) { try restore(Array(bytes[..<length])) }
            #expect(error?.message.contains("b.tar") == true)
        }
    }

    @Test("A shard that the index names and the file lacks, another model, a newer form: each is said")
    func refusals() throws {
        let made = try imported()
        let other = String(repeating: "ab", count: 32)
        for (edit, word) in [
            ({ $0.models[0].shards[1] = other }, other), ({ $0.models[0].shards[1] = "../x" }, "../x"),
            ({ $0.format = 7 }, "format 7"), ({ $0.models[0].name = "n" }, "no model m"),
        ] as [((inout BackupIndex) -> Void, String)] {
            let bytes = try backup(made, edit: edit)
            let error = #expect(throws: ImportError.self) { try restore(bytes) }
            #expect(error?.message.contains(word) == true, "\(String(describing: error))")
        }
    }
}

/// The same damage in every run.
private struct LinearRandom {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 33
    }
}

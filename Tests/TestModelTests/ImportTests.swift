// What Locum makes of the files: they pass through its importer, and its tokenizer finds the made-up words.
import FunctionModel
import Glibc
import Kernels
import Shard
import TestModel
import Testing
import Tokenizer

@testable import ModelImport

@Suite struct ImportTests {
    @Test("Every format passes through the importer", arguments: WeightFormat.allCases)
    func imported(_ format: WeightFormat) throws {
        let dial = RoutingDial(skew: 1, repetition: 0.5, correlation: 0.3)
        let shape = Preset.tiny.shape
        let manifest = try opened(try .tiny(format, dial)) { source in
            try ModelImport.run(
                sources: [source], options: ImportOptions(probe: true), sink: KnownShards(), progress: { _, _, _ in })
        }
        #expect(manifest.functions.count == 1 + shape.layers * shape.experts)
    }

    @Test("A model of one layer passes as well, and its longest sequence is the one asked for")
    func oneLayer() throws {
        var shape = Preset.tiny.shape
        (shape.layers, shape.context) = (1, 77)
        let model = try TestModel(shape: shape, mixture: Mixture(.q4_0), dial: RoutingDial(), seed: 1)
        let loaded = try opened(model) { try ModelImport.load([$0]) }
        #expect(loaded.config.context == 77)
        #expect(loaded.config.layers == 1)
        #expect(loaded.hasAttentionBias && !loaded.tiesOutput && !loaded.config.normalizesTopK)
    }

    @Test("Each made-up word is one token and comes back as it was")
    func tokenizer() throws {
        let loaded = try opened(try .tiny()) { try ModelImport.load([$0]) }
        #expect(loaded.config.eosText == "<|im_end|>" && loaded.config.bosText == "<|endoftext|>")
        #expect(loaded.template?.source.contains("<|im_start|>") == true)
        let tables = try loaded.tokenizer.encodeTables()
        try tables.withUnsafeBytes { raw in
            let aligned = UnsafeMutableRawBufferPointer.allocate(byteCount: raw.count, alignment: 4096)
            defer { aligned.deallocate() }
            aligned.copyMemory(from: raw)
            let tokenizer = try Tokenizer(tables: UnsafeRawBufferPointer(aligned))
            #expect(tokenizer.vocabularySize == 1024)
            for id in 256..<Int32(1021) {
                #expect(tokenizer.encode(tokenizer.bytes(of: id), parseSpecial: false) == [id])
            }
            let text = Array("Once upon a time <|im_end|>\n".utf8)
            let ids = tokenizer.encode(text, parseSpecial: true)
            #expect(ids.contains(1023))
            #expect(ids.flatMap { tokenizer.bytes(of: $0) } == text)
        }
    }

    private func opened<T>(_ model: TestModel, _ body: (ImportSource) throws -> T) throws -> T {
        try withFolder { folder in
            let path = "\(folder)/m.gguf"
            try model.write(to: path, threads: 2)
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            defer { close(descriptor) }
            return try body(ImportSource(name: "m.gguf", descriptor: descriptor))
        }
    }
}

/// Has every shard already: all are made for their digests, none is written.
private final class KnownShards: ShardSink {
    func has(index: Int, digest: [UInt8]) -> Bool { true }
    func create(index: Int, length: Int) throws(ImportError) -> Int32 { throw ImportError(.refused, "not asked for") }
    func finish(index: Int, digest: [UInt8], length: Int) {}
}

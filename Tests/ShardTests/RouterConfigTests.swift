// The router's configuration is read by the router and believed after one check: it has to come back as it
// was written, and nothing impossible may pass.
import Kernels
import Shard
import Testing

@Suite struct RouterConfigTests {
    private func decode(_ bytes: [UInt8]) throws -> RouterConfig {
        try bytes.withUnsafeBytes { try RouterConfig(decoding: $0) }
    }

    @Test("A configuration comes back as it was written")
    func roundTrip() throws {
        #expect(try decode(sampleConfig().encoded) == sampleConfig())
        var config = sampleConfig()
        config.bosToken = nil
        config.generation = GenerationDefaults(minP: 0.05, repetitionPenalty: 1.1)
        config.kvType = .f32
        config.queryKeyNorm = .acrossHeads
        #expect(try decode(config.encoded) == config)
    }

    @Test("Every expert is found where the map puts it")
    func places() {
        let config = sampleConfig()
        #expect(config.place(layer: 0, expert: 2) == .init(function: 1, local: 0))
        #expect(config.place(layer: 0, expert: 1) == .init(function: 0, local: 1))
        #expect(config.place(layer: 1, expert: 0) == nil)
        #expect(config.place(layer: 0, expert: 3) == nil)
        #expect(config.place(layer: 2, expert: 0) == nil)
    }

    @Test("A configuration cut off at any length is refused, and so is one with bytes too many")
    func truncation() {
        let bytes = sampleConfig().encoded
        for length in bytes.indices { #expect(throws: ShardError.self) { try decode(Array(bytes[..<length])) } }
        #expect(throws: ShardError.self) { try decode(bytes + [0]) }
    }

    @Test("A flipped byte never gives a configuration that fails its own check")
    func flips() {
        let bytes = sampleConfig().encoded
        for index in bytes.indices {
            for flip in [UInt8(1), 2, 0x40, 0x80, 0xFF] {
                var damaged = bytes
                damaged[index] ^= flip
                guard let config = try? decode(damaged) else { continue }
                #expect(throws: Never.self) { try config.validate() }
            }
        }
    }

    @Test("Impossible numbers are refused by name")
    func impossible() {
        let edits: [(String, (inout RouterConfig) -> Void)] = [
            ("vocabulary", { $0.vocabulary = 0 }), ("vocabulary", { $0.vocabulary = 1 << 21 }),
            ("hidden", { $0.hidden = 0 }), ("layers", { $0.layers = 2000 }), ("heads", { $0.heads = 0 }),
            ("key/value heads", { $0.kvHeads = 3 }), ("key/value heads", { $0.kvHeads = 8 }),
            ("head dimension", { $0.headDim = 15 }), ("experts per token", { $0.expertsPerToken = 4 }),
            ("experts", { $0.expertCount = 5000 }), ("width", { $0.denseIntermediate = 0 }),
            ("no layer has experts", { $0.isMoE = [false, false] }), ("layers", { $0.isMoE = [true] }),
            ("rotary", { $0.rotation.frequencies[3] = .nan }), ("rotary", { $0.rotation.frequencies[3] = 1.5 }),
            ("rotary", { $0.rotation.frequencies[3] = 0 }),
            ("rotary", { $0.rotation.frequencies.removeLast() }), ("rotary", { $0.rotation.scale = .infinity }),
            ("epsilon", { $0.rmsEpsilon = 0 }), ("context", { $0.context = 0 }),
            ("token 100", { $0.eosTokens = [100] }), ("token -1", { $0.bosToken = -1 }),
            ("top_p", { $0.generation.topP = 1.5 }), ("temperature", { $0.generation.temperature = .infinity }),
            ("functions", { $0.functions.count = 0 }), ("functions", { $0.functions.places.removeLast() }),
            ("taken", { $0.functions.places[1] = $0.functions.places[0] }),
        ]
        for (word, edit) in edits {
            var config = sampleConfig()
            edit(&config)
            let error = #expect(throws: ShardError.self, "\(word)") { try config.validate() }
            #expect(error?.message.contains(word) == true, "\(error?.message ?? "") should speak of \(word)")
        }
    }
}

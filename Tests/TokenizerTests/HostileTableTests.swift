// Tables come from a shard; a shard can be damaged or made by someone hostile. Whatever the bytes, opening
// them throws or gives a tokenizer whose every call stays inside them. (A read outside would trip the checks
// of the standard library's debug build or the preconditions of TableView and end the test run.)
import SeededRandom
import Testing
import Tokenizer

@Suite struct HostileTableTests {
    private func tables(_ model: ModelFolder = .qwen2moe) throws -> [UInt8] { try model.definition().encodeTables() }

    /// Uses everything a tokenizer offers.
    private func exercise(_ loaded: LoadedTokenizer) {
        let text = "<|im_start|>user\nThe keeper wrote down the weather, é e\u{301} 東京 123's<|im_end|>\n"
        for parse in [true, false] {
            for id in loaded.encode(text, parseSpecial: parse) { _ = loaded.tokenizer.bytes(of: id) }
        }
        for id in -1...Int32(min(loaded.tokenizer.vocabularySize, 600)) {
            _ = loaded.tokenizer.bytes(of: id)
            _ = loaded.tokenizer.isSpecial(id)
        }
    }

    @Test("tables cut off anywhere are refused", arguments: [ModelFolder.qwen2moe, .mixtral])
    func truncated(model: ModelFolder) throws {
        let tables = try tables(model)
        for length in 0..<tables.count {
            #expect(throws: TokenizerError.self) { try LoadedTokenizer(Array(tables[..<length])) }
        }
        #expect(throws: TokenizerError.self) { try LoadedTokenizer(tables + [0]) }
    }

    @Test(
        "tables with any byte of the first 4 KiB, or any eleventh byte, inverted are refused or harmless",
        arguments: [ModelFolder.qwen2moe, .mixtral])
    func flipped(model: ModelFolder) throws {
        let tables = try tables(model)
        var refused = 0
        for index in Array(0..<4096) + Array(stride(from: 4096, to: tables.count, by: 11)) {
            var bad = tables
            bad[index] ^= 0xFF
            if let loaded = try? LoadedTokenizer(bad) { exercise(loaded) } else { refused += 1 }
        }
        #expect(refused > 3000)
    }

    @Test("tables whose added token is half a character are refused")
    func halfCharacter() throws {
        let tables = try TokenizerDefinition(
            tokens: byteVocabulary(), merges: [], added: [AddedToken(id: 256, content: "!", special: false)],
            preTokenizer: .qwen2, normalizesNFC: false
        ).encodeTables()
        _ = try LoadedTokenizer(tables)
        let bad = tables.dropLast() + [0xC3]
        #expect(throws: TokenizerError.self) { try LoadedTokenizer(Array(bad)) }
    }

    @Test(
        "tables of noise behind a good header are refused or harmless", arguments: [ModelFolder.qwen2moe, .mixtral])
    func noise(model: ModelFolder) throws {
        let tables = try tables(model)
        var random = SplitMix64(102)
        for _ in 0..<300 {
            var bad = tables
            for _ in 0..<Int.random(in: 1...40, using: &random) {
                bad[Int.random(in: 64..<bad.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if let loaded = try? LoadedTokenizer(bad) { exercise(loaded) }
        }
    }

    @Test("a refusal says that the tables are damaged and what to do")
    func message() throws {
        var bad = try tables()
        bad[64] = 9
        #expect {
            try LoadedTokenizer(bad)
        } throws: { error in
            guard let error = error as? TokenizerError else { return false }
            return error.code == "tokenizer_tables_damaged" && error.message.contains("deploy the model again")
        }
    }
}

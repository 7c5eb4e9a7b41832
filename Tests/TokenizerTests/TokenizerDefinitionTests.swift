// Vocabularies that contradict themselves are refused at import, each with the token that shows it.
import Testing
import Tokenizer

@Suite struct TokenizerDefinitionTests {
    private static let merges: [(String, String)] = [("a", "b"), ("ab", "c")]

    private static func definition() -> TokenizerDefinition {
        TokenizerDefinition(
            tokens: byteVocabulary() + ["ab", "", "abc"], merges: merges,
            added: [AddedToken(id: 259, content: "<end>", special: true)], preTokenizer: .qwen2, normalizesNFC: false)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let code: String
        let mention: String
        let change: @Sendable (inout TokenizerDefinition) -> Void

        init(
            _ name: String, _ code: String, _ mention: String,
            _ change: @escaping @Sendable (inout TokenizerDefinition) -> Void
        ) {
            testDescription = name
            self.code = code
            self.mention = mention
            self.change = change
        }
    }

    static let bad: [Bad] = [
        Bad("two tokens alike", "tokenizer_duplicate", "256 and 259") { $0.tokens.append("ab") },
        Bad("two added tokens with one id", "tokenizer_duplicate", "id 259") {
            $0.added.append(AddedToken(id: 259, content: "<x>", special: true))
        },
        Bad("two added tokens with one text", "tokenizer_duplicate", "<end>") {
            $0.added.append(AddedToken(id: 260, content: "<end>", special: false))
        },
        Bad("an added token on another's id", "tokenizer_duplicate", "'abc'") {
            $0.added.append(AddedToken(id: 258, content: "<x>", special: true))
        },
        Bad("an added token without text", "tokenizer_bad_token", "token 300") {
            $0.added.append(AddedToken(id: 300, content: "", special: true))
        },
        Bad("an added token with a negative id", "tokenizer_bad_token", "-5") {
            $0.added.append(AddedToken(id: -5, content: "<x>", special: true))
        },
        Bad("an added token far away", "tokenizer_bad_token", "4000000000") {
            $0.added.append(AddedToken(id: 4_000_000_000, content: "<x>", special: true))
        },
        Bad("a merge of an unknown token", "tokenizer_bad_merge", "merge 2, 'xy'") { $0.merges.append(("xy", "a")) },
        Bad("a merge to an unknown token", "tokenizer_bad_merge", "'x' with 'y'") { $0.merges.append(("x", "y")) },
        Bad("a merge with an empty side", "tokenizer_bad_merge", "merge 2") { $0.merges.append(("", "a")) },
        Bad("a character outside the alphabet", "tokenizer_bad_token", "byte-level alphabet") {
            $0.tokens[257] = "a b"
        },
        Bad("a sentencepiece token", "tokenizer_bad_token", "'▁the'") { $0.tokens[257] = "▁the" },
        Bad("a very long token", "tokenizer_bad_token", "65536") {
            $0.tokens.append(String(repeating: "a", count: 65_537))
        },
        Bad("a very long added token", "tokenizer_bad_token", "65536") {
            $0.added.append(AddedToken(id: 270, content: String(repeating: "a", count: 65_537), special: true))
        },
        Bad("too many tokens", "tokenizer_too_large", "1000000") {
            $0.tokens = [String](repeating: "", count: 1_000_001)
        },
        Bad("a byte without a token", "tokenizer_bad_token", "byte 65") { $0.tokens[65] = "" },
        Bad("no tokens", "tokenizer_bad_token", "byte 0") { $0.tokens = [] },
        Bad("a beginning-of-text token that is none", "tokenizer_bad_token", "9999") { $0.bosToken = 9999 },
        Bad("beginning-of-text wanted but not named", "tokenizer_bad_token", "bos_token") { $0.addsBos = true },
    ]

    @Test("a vocabulary that contradicts itself is refused by name", arguments: bad)
    func refused(bad: Bad) throws {
        var definition = Self.definition()
        bad.change(&definition)
        #expect {
            try definition.encodeTables()
        } throws: { error in
            guard let error = error as? TokenizerError else { return false }
            return error.code == bad.code && error.message.contains(bad.mention)
        }
    }

    @Test("holes, and added tokens after the end of the vocabulary, are kept")
    func holes() throws {
        var definition = Self.definition()
        definition.added.append(AddedToken(id: 263, content: "<late>", special: false))
        let loaded = try LoadedTokenizer(definition.encodeTables())
        #expect(loaded.tokenizer.vocabularySize == 264)
        #expect(loaded.tokenizer.bytes(of: 257).isEmpty)
        #expect(loaded.tokenizer.bytes(of: 261).isEmpty)
        #expect(loaded.encode("abc<late><end>") == [258, 263, 259])
    }

    @Test("added tokens that the vocabulary lists too, as GGUF does, are accepted")
    func listedTwice() throws {
        var definition = Self.definition()
        definition.tokens += ["<end>", "two  blanks é"]
        definition.added.append(AddedToken(id: 260, content: "two  blanks é", special: false))
        let loaded = try LoadedTokenizer(definition.encodeTables())
        #expect(loaded.encode("a<end>two  blanks é").suffix(2) == [259, 260])
        #expect(loaded.decode([260, 259]) == "two  blanks é<end>")
    }

    @Test("an added token may have the bytes of another token")
    func sameBytes() throws {
        var definition = Self.definition()
        definition.added.append(AddedToken(id: 270, content: "ab", special: false))
        let loaded = try LoadedTokenizer(definition.encodeTables())
        #expect(loaded.encode("abc") == [270, 99])
    }

    @Test("pre-tokenizers that are not known are named in the refusal")
    func preTokenizers() throws {
        #expect(try PreTokenizer(expression: PreTokenizer.qwen2Expression) == .qwen2)
        #expect(try PreTokenizer(ggufName: "qwen2") == .qwen2)
        #expect(try PreTokenizer(ggufName: "olmo") == .gpt2)
        for name in ["llama-bpe", "gpt-2", "", "Qwen2"] {
            #expect(throws: TokenizerError.self) { try PreTokenizer(ggufName: name) }
        }
        #expect {
            try PreTokenizer(expression: #"\p{N}{1,3}"#)
        } throws: { error in
            (error as? TokenizerError)?.message.contains(#"\p{N}{1,3}"#) == true
        }
    }
}

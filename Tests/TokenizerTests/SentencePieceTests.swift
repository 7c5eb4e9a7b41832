// What is peculiar to SentencePiece: blanks, bytes of characters without a token, and merges by score.
import Testing
import Tokenizer

@Suite struct SentencePieceTests {
    private static let bytes = (0..<256).map { byte -> String in
        let digits = String(byte, radix: 16, uppercase: true)
        return "<0x\(digits.utf8.count == 1 ? "0" : "")\(digits)>"
    }

    /// Three control tokens, 256 bytes, and from 259 on the words with falling scores.
    private func load(
        _ words: [String], scores: [Float]? = nil, prefix: BlankPrefix = .never, drops: Bool = true
    ) throws -> LoadedTokenizer {
        let control = ["<unk>", "<s>", "</s>"]
        return try LoadedTokenizer(
            TokenizerDefinition(
                tokens: control + Self.bytes + words, merges: [],
                scores: [Float](repeating: 0, count: 259) + (scores ?? words.indices.map { -Float($0) }),
                added: control.enumerated().map { AddedToken(id: $0.offset, content: $0.element, special: true) },
                preTokenizer: .metaspace, blankPrefix: prefix, dropsFirstBlank: drops, normalizesNFC: false,
                bosToken: 1,
                addsBos: true
            ).encodeTables())
    }

    private func ids(_ words: String..., of loaded: LoadedTokenizer) -> [Int32] {
        words.map { word in
            (259..<Int32(loaded.tokenizer.vocabularySize)).first {
                loaded.tokenizer.bytes(of: $0) == Array(word.utf8)
            } ?? -1
        }
    }

    @Test("the highest score is merged first, the leftmost of equals")
    func scores() throws {
        let words = ["a", "b", "c", "ab", "bc", "aa", "aaa"]
        let loaded = try load(words, scores: [0, 0, 0, -2, -1, -3, -4])
        #expect(loaded.encode("abc") == ids("a", "bc", of: loaded))
        #expect(loaded.encode("aaaaa") == ids("aa", "aaa", of: loaded))
        let equal = try load(words, scores: [0, 0, 0, -1, -1, -3, -4])
        #expect(equal.encode("abc") == ids("ab", "c", of: equal))
        #expect(equal.encode("aaaa") == ids("aa", "aa", of: equal))
    }

    @Test("a blank is put before text where the model wants one")
    func prefixes() throws {
        let words = ["▁", "a", "▁a", "▁▁"]
        let expected: [(BlankPrefix, [String], [String])] = [
            (.never, ["a"], [" a"]), (.eachStretch, [" a"], ["  ", "a"]), (.eachStretchWithout, [" a"], [" a"]),
            (.firstWithout, [" a"], [" a"]),
        ]
        for (prefix, bare, blank) in expected {
            let loaded = try load(words, scores: [0, 0, -2, -1], prefix: prefix)
            #expect(loaded.encode("a") == bare.flatMap { ids($0, of: loaded) }, "\(prefix)")
            #expect(loaded.encode(" a") == blank.flatMap { ids($0, of: loaded) }, "\(prefix)")
            let later = prefix == .never || prefix == .firstWithout ? ["a"] : [" a"]
            #expect(loaded.encode("</s>a") == [2] + later.flatMap { ids($0, of: loaded) }, "\(prefix)")
            #expect(loaded.encode("").isEmpty)
        }
    }

    @Test("a written blank is a blank, and comes back as one")
    func mark() throws {
        let loaded = try load(["▁", "a"])
        #expect(loaded.encode("▁a") == loaded.encode(" a"))
        #expect(loaded.decode(loaded.encode("a▁a")) == "a a")
    }

    @Test("a character without a token is its bytes, put together again byte by byte")
    func byteFallback() throws {
        let loaded = try load(["▁", "a", "é"], prefix: .eachStretch)
        let ids = loaded.encode("é東<0x41>A")
        let begin: [Int32] = [259, 261, 0xE9, 0xA0, 0xB4]
        #expect(Array(ids.prefix(5)) == begin)
        #expect(loaded.decode(ids) == "é東<0x41>A")
        #expect(loaded.tokenizer.bytes(of: 3 + 0x41) == [0x41])
        var text = UTF8Assembler(dropsFirstBlank: true)
        #expect(text.push(loaded.tokenizer.bytes(of: 259)).isEmpty)
        #expect(text.push(loaded.tokenizer.bytes(of: 3 + 0xE6)).isEmpty)
        #expect(text.push(loaded.tokenizer.bytes(of: 3 + 0x9D)).isEmpty)
        #expect(text.push(loaded.tokenizer.bytes(of: 3 + 0xB1)) == Array("東".utf8))
        #expect(text.push(loaded.tokenizer.bytes(of: 259)) == [0x20])
        #expect(text.finish().isEmpty)
    }

    @Test("only the first blank of a text is dropped, and only if the text begins with it")
    func firstBlank() throws {
        let loaded = try load(["▁", "a"])
        #expect(loaded.decode(loaded.encode("  a a")) == " a a")
        #expect(loaded.decode(loaded.encode("a a")) == "a a")
        #expect(loaded.decode(loaded.encode("<s> a")) == "<s> a")
        #expect(loaded.decode(loaded.encode("<s> a"), skipSpecial: true) == "a")
        let keeps = try load(["▁", "a"], drops: false)
        #expect(keeps.decode(keeps.encode(" a")) == " a")
    }

    @Test("text is cut before blanks only where no token goes on over them")
    func cuts() throws {
        let plain = try load(["▁", "a", "b", "▁b", "a▁"], scores: [0, 0, 0, -1, -2])
        #expect(plain.encode("a b") == ids("a", " b", of: plain))
        let over = try load(["▁", "a", "b", "▁b", "a▁"], scores: [0, 0, 0, -2, -1])
        #expect(over.encode("a b") == ids("a ", "b", of: over))
    }

    @Test("no text of a person becomes a control token, whatever merges a file lists")
    func control() throws {
        let words = ["<", "s", ">", "<s"]
        let definition = TokenizerDefinition(
            tokens: ["<unk>", "<s>", "</s>"] + Self.bytes + words, merges: [("<", "s"), ("<s", ">")],
            added: [AddedToken(id: 1, content: "<s>", special: true)], preTokenizer: .metaspace, normalizesNFC: false)
        let loaded = try LoadedTokenizer(definition.encodeTables())
        #expect(loaded.encode("<s>", parseSpecial: false) == [262, 261])
        #expect(loaded.encode("<s>") == [1])
    }

    @Test("vocabularies that cannot be are refused by name")
    func refused() throws {
        func refuses(_ mention: String, _ change: (inout TokenizerDefinition) -> Void) {
            var definition = TokenizerDefinition(
                tokens: ["<unk>", "<s>", "</s>"] + Self.bytes + ["▁"], merges: [], added: [],
                preTokenizer: .metaspace, normalizesNFC: false)
            change(&definition)
            #expect {
                try definition.encodeTables()
            } throws: { error in
                (error as? TokenizerError)?.message.contains(mention) == true
            }
        }
        refuses("byte 7") { $0.tokens[10] = "x" }
        refuses("scores") { $0.scores = [1] }
        refuses("256 bytes") {
            $0.tokens.append(String(repeating: "a", count: 257))
            $0.scores = [Float](repeating: 0, count: $0.tokens.count)
        }
        refuses("'▁x'") { $0.added = [AddedToken(id: 300, content: "▁x", special: false)] }
        refuses("'x'") { $0.added = [AddedToken(id: 300, content: "x", special: false, normalized: true)] }
    }
}

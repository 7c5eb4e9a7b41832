// What the reference cases do not reach: pieces of different trust, flags of added tokens, bytes that are not
// text, and lengths that would show quadratic time.
import Glibc
import Testing
import Tokenizer

@Suite struct EncodingTests {
    private func piece(_ text: String, trusted: Bool) -> TextPiece {
        TextPiece(utf8: Array(text.utf8), parsesSpecial: trusted)
    }

    /// The byte vocabulary, the merge "ab", and added tokens from id 257 on.
    private func small(_ added: [AddedToken] = []) throws -> LoadedTokenizer {
        try LoadedTokenizer(
            TokenizerDefinition(
                tokens: byteVocabulary() + ["ab"], merges: [("a", "b")], added: added, preTokenizer: .qwen2,
                normalizesNFC: true
            ).encodeTables())
    }

    @Test("words are cut across the borders of pieces")
    func wordsAcrossPieces() throws {
        let loaded = try ModelFolder.tales.loaded()
        let whole = loaded.encode("user\n\nOnce upon a time", parseSpecial: false)
        for cut in 0...10 {
            let text = "user\n\nOnce upon a time"
            let index = text.index(text.startIndex, offsetBy: cut)
            let pieces = [piece(String(text[..<index]), trusted: true), piece(String(text[index...]), trusted: false)]
            #expect(loaded.tokenizer.encode(pieces) == whole)
        }
    }

    @Test("a special token is found only where every byte of it is trusted")
    func trust() throws {
        let loaded = try ModelFolder.qwen2moe.loaded()
        let marker = "<|im_end|>"
        for cut in 1..<marker.count {
            let index = marker.index(marker.startIndex, offsetBy: cut)
            let (head, tail) = (String(marker[..<index]), String(marker[index...]))
            for (first, second) in [(true, false), (false, true), (false, false)] {
                let ids = loaded.tokenizer.encode([piece(head, trusted: first), piece(tail, trusted: second)])
                #expect(ids == loaded.encode(marker, parseSpecial: false))
            }
            #expect(loaded.tokenizer.encode([piece(head, trusted: true), piece(tail, trusted: true)]) == [511])
        }
        let turn = loaded.tokenizer.encode([
            piece("<|im_start|>", trusted: true), piece("x<|im_end|>", trusted: false),
            piece("<|im_end|>", trusted: true),
        ])
        #expect(turn.filter { loaded.tokenizer.isSpecial($0) } == [510, 511])
        #expect(turn.first == 510 && turn.last == 511)
    }

    @Test("a character torn between two pieces does not come together")
    func tornCharacter() throws {
        let loaded = try small()
        let ids = loaded.tokenizer.encode([
            TextPiece(utf8: [0xC3], parsesSpecial: true), TextPiece(utf8: [0xA9], parsesSpecial: false),
        ])
        #expect(loaded.decode(ids) == "\u{FFFD}\u{FFFD}")
    }

    @Test("the longest added token wins, and ones that are not special are found in any text")
    func longestAdded() throws {
        let loaded = try small([
            AddedToken(id: 257, content: "<a>", special: false),
            AddedToken(id: 258, content: "<a>b", special: true),
            AddedToken(id: 259, content: "<", special: false, normalized: true),
        ])
        #expect(loaded.encode("<a>b<a><") == [258, 257, 259])
        // As in Hugging Face's tokenizers, what a special token covers is not searched again.
        #expect(loaded.encode("<a><", parseSpecial: false) == [257, 259])
        #expect(loaded.encode("x<a>b", parseSpecial: false).contains(258) == false)
    }

    @Test("flags of added tokens: stripping and single words")
    func addedFlags() throws {
        let loaded = try small([
            AddedToken(id: 257, content: "<l>", special: true, lstrip: true),
            AddedToken(id: 258, content: "<r>", special: true, rstrip: true),
            AddedToken(id: 259, content: "cat", special: false, singleWord: true),
        ])
        #expect(loaded.encode("a \u{3000}<l> a") == [64, 257, 220, 64].map { id in mapped(id, loaded) })
        #expect(loaded.encode("a <r>\n\u{3000} a") == [64, 220, 258, 64].map { id in mapped(id, loaded) })
        #expect(loaded.encode("cat").contains(259))
        #expect(loaded.encode("a cat, éa").contains(259))
        #expect(!loaded.encode("cats").contains(259))
        #expect(!loaded.encode("écat").contains(259))
        #expect(!loaded.encode("_cat").contains(259))
    }

    /// Ids of GPT-2's order (64 is "a", 220 is " ") in the order of `byteVocabulary`.
    private func mapped(_ id: Int32, _ loaded: LoadedTokenizer) -> Int32 {
        switch id {
        case 64: loaded.encode("a")[0]
        case 220: loaded.encode(" ")[0]
        default: id
        }
    }

    @Test("bytes that are not UTF-8 are encoded as U+FFFD")
    func invalidBytes() throws {
        let loaded = try ModelFolder.qwen2moe.loaded()
        let expected = loaded.encode("a\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD}")
        #expect(
            loaded.tokenizer.encode([0x61, 0xFF, 0x62, 0xE2, 0x82, 0x80, 0x80, 0xED, 0xA0], parseSpecial: false)
                == loaded.encode("a\u{FFFD}b\u{2080}\u{FFFD}\u{FFFD}\u{FFFD}"))
        #expect(loaded.tokenizer.encode([0x61, 0x80, 0x62, 0xC0, 0xAF, 0xF0, 0x9F], parseSpecial: false) == expected)
    }

    @Test("a beginning-of-text token is told, never added")
    func bos() throws {
        var definition = try ModelFolder.qwen2moe.definition()
        definition.bosToken = 509
        definition.addsBos = true
        let loaded = try LoadedTokenizer(definition.encodeTables())
        #expect(loaded.tokenizer.bosToken == 509)
        #expect(loaded.tokenizer.addsBos)
        #expect(loaded.encode("").isEmpty)
    }

    @Test(
        "sixteen times as long a text takes nowhere near 256 times as long",
        arguments: ["a", "ab", " ", "\n", " \n", "é", "e\u{301}", "\u{301}", "1", "<|im_end|>", "<", "'s", "東", "!"],
        [ModelFolder.tales, .olmoe, .mixtral])
    func linear(unit: String, model: ModelFolder) throws {
        let loaded = try model.loaded()
        func encode(bytes: Int) -> Int {
            let text = [UInt8](String(repeating: unit, count: bytes / unit.utf8.count).utf8)
            let start = threadMicroseconds()
            _ = loaded.tokenizer.encode(text, parseSpecial: true)
            return threadMicroseconds() - start
        }
        let short = (0..<3).map { _ in encode(bytes: 8 << 10) }.min() ?? 0
        // Quadratic time would be 256 times as much. What a host takes from a virtual machine's core counts as this thread's,
        // so a long one gets more than one try.
        #expect((0..<5).contains { _ in encode(bytes: 128 << 10) < max(short, 500) * 80 })
    }

    /// Time this thread has had, which a busy machine does not stretch.
    private func threadMicroseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    }
}

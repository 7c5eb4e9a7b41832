// Ids and texts as Hugging Face's tokenizers gives them.
import Testing
import Tokenizer

@Suite struct ReferenceCaseTests {
    @Test("every reference text has the reference ids, with special tokens parsed", arguments: ModelFolder.allCases)
    func ids(model: ModelFolder) throws {
        let loaded = try model.loaded()
        let cases = try model.cases().cases
        #expect(cases.count == 60)
        for reference in cases { #expect(loaded.encode(reference.text) == reference.ids, "\(reference.text)") }
    }

    @Test(
        "special tokens in a text of a user become ordinary text",
        arguments: ModelFolder.allCases.filter { $0 != .tales })
    func specialAsText(model: ModelFolder) throws {
        let loaded = try model.loaded()
        var different = 0
        for reference in try model.cases().cases {
            let expected = try #require(reference.ids_special_as_text)
            if expected != reference.ids { different += 1 }
            #expect(loaded.encode(reference.text, parseSpecial: false) == expected, "\(reference.text)")
        }
        #expect(different > 0)
    }

    @Test("ids decode to the reference text", arguments: ModelFolder.allCases)
    func decoded(model: ModelFolder) throws {
        let loaded = try model.loaded()
        for reference in try model.cases().cases {
            #expect(loaded.decode(reference.ids) == reference.decoded)
            if let skipped = reference.decoded_skip_special {
                #expect(loaded.decode(reference.ids, skipSpecial: true) == skipped)
            }
        }
    }

    @Test("tables work at any alignment")
    func alignment() throws {
        let tables = try ModelFolder.qwen2moe.definition().encodeTables()
        let expected = try LoadedTokenizer(tables).encode("The lighthouse\u{301} keeper's log, 1893")
        for offset in 1...3 {
            let shifted = try LoadedTokenizer(tables, offset: offset)
            #expect(shifted.encode("The lighthouse\u{301} keeper's log, 1893") == expected)
        }
    }

    @Test("the same definition gives the same tables")
    func deterministic() throws {
        let definition = try ModelFolder.tales.definition()
        let tables = try definition.encodeTables()
        #expect(try definition.encodeTables() == tables)
        #expect(try ModelFolder.tales.definition().encodeTables() == tables)
    }

    @Test("unknown ids have no bytes and are not special")
    func unknownIds() throws {
        let loaded = try ModelFolder.qwen2moe.loaded()
        for id: Int32 in [-1, 512, .max, .min] {
            #expect(loaded.tokenizer.bytes(of: id).isEmpty)
            #expect(!loaded.tokenizer.isSpecial(id))
        }
        #expect(loaded.tokenizer.vocabularySize == 512)
        #expect(loaded.tokenizer.bytes(of: 511) == Array("<|im_end|>".utf8))
        #expect((0..<512).filter { loaded.tokenizer.isSpecial($0) } == [509, 510, 511])
    }
}

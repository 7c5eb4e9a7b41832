// SentencePiece puts a blank before every text: it is no part of what a person wrote, nor of an answer of its own, but of
// one that goes on where the prompt ends it is.
import Shard
import Template
import Testing
import Tokenizer
import Wire

@testable import Worker

@Suite("Prompts of a model with SentencePiece's tokenizer")
struct MetaspacePromptTests {
    private let model: NanoModel
    private let reader: PromptReader

    init() throws {
        model = try NanoModel("mixtral")
        let tables = try #require(model.router.blob(.tokenizer))
        reader = PromptReader(
            tokenizer: try Tokenizer(tables: tables), template: try model.router.blob(.template).map(Template.init),
            config: model.config)
    }

    @Test("A prompt begins with the begin token and is told as it was written")
    func text() throws {
        let (ids, text) = try reader.read(.text("The keeper"))
        #expect(ids.first == 1)
        #expect(text == "The keeper")
        #expect(try reader.read(.text("  two")).text == "  two")
        let chat = try reader.read(.chat([ChatTurn(role: "user", content: "Hi <s>")]))
        #expect(chat.text == "<s> [INST] Hi <s> [/INST]")
        #expect(chat.ids.filter { $0 == 1 }.count == 1)
    }

    @Test("An answer to a chat, or to nothing, is a text of its own; a completion is not")
    func begins() throws {
        #expect(reader.beginsText(after: .chat([]), [1, 300]))
        #expect(reader.beginsText(after: .text(""), try reader.read(.text("")).ids))
        #expect(!reader.beginsText(after: .text("a"), try reader.read(.text("a")).ids))
        #expect(!reader.beginsText(after: .tokens([300]), [300]))
    }
}

// Tokenizers and templates as routers get them, out of folders and out of GGUF files, against what Hugging Face makes of
// the same texts and chats.
import Foundation
import ModelImport
import Shard
import Template
import Testing
import Tokenizer

private struct ReferenceTexts: Decodable {
    struct Case: Decodable {
        let name: String
        let text: String
        let ids: [Int32]
        let ids_with_bos: [Int32]
        let ids_special_as_text: [Int32]
        let decoded: String
        let decoded_skip_special: String
    }
    struct Message: Decodable {
        let role: String
        let content: String
    }
    struct Chat: Decodable {
        let name: String
        let messages: [Message]
        let add_generation_prompt: Bool
        let template_arguments: [String: Bool]?
        let text: String?
        let ids: [Int32]?
        let error: String?
    }
    let cases: [Case]
    let chats: [Chat]
}

/// A model's text side, as its router maps it.
private struct RouterTexts {
    let tokenizer: Tokenizer
    let template: Template
    let config: RouterConfig
    let reference: ReferenceTexts

    /// - Parameter source: a folder, a folder with another one's tokenizer ("a+b"), or a GGUF file.
    init(_ source: String) throws {
        let names = source.split(separator: "+").map(String.init)
        var files = try source.hasPrefix("gguf/") ? ModelFiles.gguf(String(source.dropFirst(5))) : .folder(names[0])
        var folder =
            source.hasPrefix("gguf/") ? source.dropFirst(5).split(separator: ".").first.map(String.init) : names[0]
        if names.count == 2 {
            folder = names[1]
            files.files["tokenizer.json"] = try ModelFiles.folder(names[1]).files["tokenizer.json"]
        }
        let router = try files.run(ImportOptions(expertsPerFunction: 0)).shard(0).view
        tokenizer = try Tokenizer(tables: try #require(router.blob(.tokenizer)))
        template = try Template(try #require(router.blob(.template)))
        config = try router.routerConfig()
        let texts = try ModelFiles.folder(try #require(folder))
        let cases = try #require(texts.files["tokenizer_cases.json"])
        reference = try JSONDecoder().decode(ReferenceTexts.self, from: Data(cases))
    }

    func encode(_ text: String, parseSpecial: Bool) -> [Int32] {
        tokenizer.encode(Array(text.utf8), parseSpecial: parseSpecial)
    }

    func decode(_ ids: [Int32]) -> String {
        var assembler = UTF8Assembler(dropsFirstBlank: tokenizer.dropsFirstBlank)
        var bytes: [UInt8] = []
        for id in ids { bytes += assembler.push(tokenizer.bytes(of: id)) }
        return String(decoding: bytes + assembler.finish(), as: UTF8.self)
    }

    func render(_ chat: ReferenceTexts.Chat) throws -> [Segment] {
        try template.render(
            messages: chat.messages.map { ChatMessage(role: $0.role, content: $0.content) },
            addGenerationPrompt: chat.add_generation_prompt, bosToken: config.bosText.isEmpty ? nil : config.bosText,
            eosToken: config.eosText.isEmpty ? nil : config.eosText,
            settings: (chat.template_arguments ?? [:]).map { ($0.key, .boolean($0.value)) })
    }
}

@Suite("Texts agree with Hugging Face") struct ReferenceTextTests {
    static let sources = [
        "qwen2moe", "qwen3moe", "mixtral", "mixtral+tokenizers/mistral-metaspace", "olmoe", "gguf/qwen2moe.Q8_0",
        "gguf/qwen3moe.Q4_0", "gguf/mixtral.Q8_0", "gguf/olmoe.Q8_0",
    ]

    @Test("every reference text has the reference ids and comes back as the reference text", arguments: sources)
    func texts(source: String) throws {
        let model = try RouterTexts(source)
        #expect(model.reference.cases.count == 60)
        for text in model.reference.cases {
            #expect(model.encode(text.text, parseSpecial: true) == text.ids, "\(text.name)")
            #expect(model.encode(text.text, parseSpecial: false) == text.ids_special_as_text, "\(text.name) as text")
            let begin = model.tokenizer.addsBos ? model.tokenizer.bosToken.map { [$0] } ?? [] : []
            #expect(begin + text.ids == text.ids_with_bos, "\(text.name) with its beginning")
            #expect(model.decode(text.ids) == text.decoded, "\(text.name)")
            let plain = text.ids.filter { !model.tokenizer.isSpecial($0) }
            #expect(model.decode(plain) == text.decoded_skip_special, "\(text.name) without special tokens")
        }
    }

    @Test("every reference chat is laid out or refused as there, and has the reference ids", arguments: sources)
    func chats(source: String) throws {
        let model = try RouterTexts(source)
        #expect(model.reference.chats.count >= 22)
        for chat in model.reference.chats {
            if let refusal = chat.error {
                let error = #expect(throws: TemplateError.self, "\(chat.name)") { try model.render(chat) }
                #expect(error?.message == refusal)
                continue
            }
            let segments = try model.render(chat)
            #expect(String(decoding: segments.flatMap(\.text), as: UTF8.self) == chat.text, "\(chat.name)")
            guard let ids = chat.ids else { continue }
            #expect(model.encode(try #require(chat.text), parseSpecial: true) == ids, "\(chat.name)")
            // What people write never becomes a special token, in the reference it does.
            let contents = chat.messages.flatMap { model.encode($0.content, parseSpecial: true) }
            guard !contents.contains(where: model.tokenizer.isSpecial) else { continue }
            let pieces = segments.map { TextPiece(utf8: $0.text, parsesSpecial: !$0.isUserContent) }
            #expect(model.tokenizer.encode(pieces) == ids, "\(chat.name) in pieces")
        }
    }
}

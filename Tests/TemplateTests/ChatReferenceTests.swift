// The chats of the reference model, rendered and encoded as Hugging Face does it, and the templates of the
// other reference models: the ones that compile, and the one that is refused by name.
import Foundation
import Template
import Testing
import Tokenizer

struct ReferenceChat: Decodable, Sendable {
    struct Message: Decodable, Sendable {
        let role: String
        let content: String
    }
    let name: String
    let messages: [Message]
    let add_generation_prompt: Bool
    let text: String
    let ids: [Int32]?

    var conversation: [ChatMessage] { messages.map { ChatMessage(role: $0.role, content: $0.content) } }
}

@Suite struct ChatReferenceTests {
    private static func folder(_ path: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: path)
    }

    private static func template(of path: String) throws -> Template {
        struct Configuration: Decodable { let chat_template: String }
        let data = try Data(contentsOf: folder(path).appending(path: "tokenizer_config.json"))
        let source = try JSONDecoder().decode(Configuration.self, from: data).chat_template
        return try Template(Template.compile(source: source))
    }

    private static func chats() throws -> [ReferenceChat] {
        struct File: Decodable { let chats: [ReferenceChat] }
        let data = try Data(
            contentsOf: folder("Tests/Conformance/nano/qwen2moe").appending(path: "tokenizer_cases.json"))
        return try JSONDecoder().decode(File.self, from: data).chats
    }

    /// The reference model's tokenizer, as far as it is needed here.
    private static func withTokenizer(_ body: (Tokenizer) throws -> Void) throws {
        struct File: Decodable {
            struct Added: Decodable {
                let id: Int
                let content: String
            }
            struct Model: Decodable {
                let vocab: [String: Int]
                let merges: [[String]]
            }
            let added_tokens: [Added]
            let model: Model
        }
        let data = try Data(contentsOf: folder("Tests/Conformance/nano/qwen2moe").appending(path: "tokenizer.json"))
        let file = try JSONDecoder().decode(File.self, from: data)
        var tokens = [String](repeating: "", count: file.model.vocab.count)
        for (string, id) in file.model.vocab { tokens[id] = string }
        let tables = try TokenizerDefinition(
            tokens: tokens, merges: file.model.merges.map { ($0[0], $0[1]) },
            added: file.added_tokens.map { AddedToken(id: $0.id, content: $0.content, special: true) },
            preTokenizer: .qwen2, normalizesNFC: true
        ).encodeTables()
        try tables.withUnsafeBytes { try body(Tokenizer(tables: $0)) }
    }

    @Test(
        "every reference chat is rendered to the reference text",
        arguments: ["qwen2moe", "qwen2moe-norm", "kquant-qwen2moe"])
    func texts(model: String) throws {
        let template = try Self.template(of: "Tests/Conformance/nano/\(model)")
        let chats = try Self.chats()
        #expect(chats.count >= 20)
        for chat in chats {
            let segments = try template.render(
                messages: chat.conversation, addGenerationPrompt: chat.add_generation_prompt, eosToken: "<|im_end|>")
            #expect(String(decoding: segments.flatMap(\.text), as: UTF8.self) == chat.text, "\(chat.name)")
        }
    }

    @Test("every reference chat has the reference ids, but special tokens in its content are plain text")
    func ids() throws {
        let template = try Self.template(of: "Tests/Conformance/nano/qwen2moe")
        var plain = 0
        try Self.withTokenizer { tokenizer in
            for chat in try Self.chats() {
                guard let ids = chat.ids else { continue }
                let segments = try template.render(
                    messages: chat.conversation, addGenerationPrompt: chat.add_generation_prompt)
                let pieces = segments.map { TextPiece(utf8: $0.text, parsesSpecial: !$0.isUserContent) }
                let own = tokenizer.encode(pieces)
                #expect(tokenizer.encode(Array(chat.text.utf8), parseSpecial: true) == ids, "\(chat.name)")
                if chat.messages.contains(where: { $0.content.contains("<|im_") }) {
                    // The reference lets a user end his turn; Locum does not. Same text, fewer special tokens.
                    plain += 1
                    #expect(own.flatMap { tokenizer.bytes(of: $0) } == Array(chat.text.utf8))
                    let turns = 2 + (chat.add_generation_prompt ? 1 : 0)
                    #expect(own.filter { $0 == 510 }.count == turns)
                    #expect(own.filter { $0 == 511 }.count == 2)
                } else {
                    #expect(own == ids, "\(chat.name)")
                }
            }
        }
        #expect(plain == 2)
    }

    @Test("the embedded model's template lays out turns")
    func tales() throws {
        let segments = try Self.template(of: "Runtime/Models/tales-moe").render(
            messages: [ChatMessage(role: "user", content: "A story, please.\n")], addGenerationPrompt: true)
        #expect(
            segments == [
                Segment(text: Array("<|im_start|>user\n".utf8), isUserContent: false),
                Segment(text: Array("A story, please.\n".utf8), isUserContent: true),
                Segment(text: Array("<|im_end|>\n<|im_start|>assistant\n".utf8), isUserContent: false),
            ])
    }

    /// Mixtral's: alternating roles, a system text that goes into the first turn.
    private static let alternating = """
        {{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\\n\\n' %}\
        {% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}\
        {% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% if message['role'] == 'user' %}\
        {{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}{% else %}\
        {{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}
        """

    @Test("a template that alternates roles renders, and refuses with its own words")
    func raises() throws {
        let template = try Template(Template.compile(source: Self.alternating))
        func render(_ roles: [String]) throws -> String {
            let messages = roles.map { ChatMessage(role: $0, content: "c") }
            let segments = try template.render(
                messages: messages, addGenerationPrompt: true, bosToken: "<s>", eosToken: "</s>")
            return String(decoding: segments.flatMap(\.text), as: UTF8.self)
        }
        #expect(
            try render(["system", "user", "assistant", "user"]) == "<s>[INST] c\n\nc [/INST] c</s>[INST] c [/INST]")
        #expect {
            try render(["user", "user"])
        } throws: { error in
            guard let error = error as? TemplateError else { return false }
            return error.code == "template_raised" && error.message == "Roles must alternate user/assistant"
        }
    }
}

// From what a caller gives to the ids that the model reads. Special tokens are recognised in completion prompts,
// as in OpenAI's and llama-server's completions; in a conversation only the template's own text may hold them, so
// what a person writes cannot end a turn or start another.
import Shard
import Template
import Tokenizer
import Wire

/// Reads prompts for one model.
struct PromptReader {
    let tokenizer: Tokenizer
    /// Nil: the model has none and cannot chat.
    let template: Template?
    let config: RouterConfig

    /// The ids of a prompt, at least one, and the text that they decode to (a begin token that was added does
    /// not show).
    /// - Throws: `RouterFailure`: `invalid_prompt`, `invalid_messages`.
    func read(_ prompt: Prompt) throws(RouterFailure) -> (ids: [Int32], text: String) {
        switch prompt {
        case .tokens(let ids):
            try check(ids, "prompt")
            return (ids, text(of: ids))
        case .text(let text):
            let ids = tokenizer.encode(Array(text.utf8), parseSpecial: true)
            let begun = withBegin(ids)
            try check(begun, "prompt")
            return (begun, self.text(of: ids))
        case .chat(let turns, let settings):
            let ids = withBegin(try render(turns, settings))
            try check(ids, "messages")
            return (ids, text(of: ids))
        }
    }

    /// Whether an answer is a text of its own, not the rest of the prompt's, and would be decoded without a blank in
    /// front.
    func beginsText(after prompt: Prompt, _ ids: [Int32]) -> Bool {
        guard tokenizer.dropsFirstBlank else { return false }
        if case .chat = prompt { return true }
        return ids.allSatisfy(tokenizer.isSpecial)
    }

    /// Whether all ids are of the vocabulary.
    func knows(_ ids: [Int32]) -> Bool { ids.allSatisfy { $0 >= 0 && Int($0) < config.vocabulary } }

    private func check(_ ids: [Int32], _ parameter: String) throws(RouterFailure) {
        guard !ids.isEmpty else {
            throw RouterFailure("invalid_prompt", parameter: parameter, "the prompt is empty; give at least one token")
        }
        guard let stranger = ids.first(where: { !knows([$0]) }) else { return }
        throw RouterFailure(
            "invalid_prompt", parameter: parameter,
            "token \(stranger) is not in this model's vocabulary of \(config.vocabulary)")
    }

    /// Templates write the begin token themselves where they want one.
    private func withBegin(_ ids: [Int32]) -> [Int32] {
        guard tokenizer.addsBos, let begin = tokenizer.bosToken, ids.first != begin else { return ids }
        return [begin] + ids
    }

    private func text(of ids: [Int32]) -> String {
        var text = UTF8Assembler(dropsFirstBlank: tokenizer.dropsFirstBlank)
        return String(decoding: text.push(ids.flatMap { tokenizer.bytes(of: $0) }) + text.finish(), as: UTF8.self)
    }

    private func render(_ turns: [ChatTurn], _ settings: [NamedSetting]) throws(RouterFailure) -> [Int32] {
        guard let template else {
            throw RouterFailure(
                "invalid_messages", parameter: "messages",
                "this model has no chat template; deploy it again with --chat-template FILE, or use completions")
        }
        guard !turns.isEmpty else {
            throw RouterFailure("invalid_messages", parameter: "messages", "there are no messages; give at least one")
        }
        if let own = settings.first(where: { Template.ownNames.contains($0.name) }) {
            throw RouterFailure(
                "invalid_messages", parameter: "chat_template_kwargs",
                "'\(own.name)' follows from the request and the model; leave it out of 'chat_template_kwargs'")
        }
        do throws(TemplateError) {
            let segments = try template.render(
                messages: turns.map { ChatMessage(role: $0.role, content: $0.content) }, addGenerationPrompt: true,
                bosToken: config.bosText.isEmpty ? nil : config.bosText,
                eosToken: config.eosText.isEmpty ? nil : config.eosText,
                settings: settings.map { ($0.name, TemplateValue($0.value)) })
            return tokenizer.encode(segments.map { TextPiece(utf8: $0.text, parsesSpecial: !$0.isUserContent) })
        } catch {
            throw RouterFailure("invalid_messages", parameter: "messages", error.message)
        }
    }
}

extension TemplateValue {
    init(_ setting: TemplateSetting) {
        self =
            switch setting {
            case .none: .none
            case .boolean(let value): .boolean(value)
            case .integer(let value): .integer(Int(value))
            case .text(let value): .text(value)
            }
    }
}

// Log-probabilities in the form of the completions endpoint: parallel arrays, tokens as texts, and where in the
// text each begins, counted in code points from the prompt's start.
import Wire

/// A run of scored tokens.
struct CompletionLogprobs: Sendable {
    private var tokens: [JSONValue] = []
    private var logprobs: [JSONValue] = []
    private var top: [JSONValue] = []
    private var offsets: [JSONValue] = []
    /// Code points before the next token.
    private var offset: Int
    private let asIDs: Bool

    init(offset: Int, asIDs: Bool) { (self.offset, self.asIDs) = (offset, asIDs) }

    var isEmpty: Bool { tokens.isEmpty }

    /// - Parameter hasScore: false for a prompt's first token, before which there is nothing.
    mutating func add(_ score: TokenScore, hasScore: Bool = true) {
        let token = score.token
        tokens.append(.string(name(token)))
        // A token that begins within a code point belongs where that one begins.
        let inside = token.bytes.first.map { $0 & 0xC0 == 0x80 } ?? false
        offsets.append(.integer(inside ? max(offset - 1, 0) : offset))
        offset += token.bytes.count { $0 & 0xC0 != 0x80 }
        guard hasScore else {
            logprobs.append(.null)
            top.append(.null)
            return
        }
        logprobs.append(token.jsonLogprob)
        // The chosen token is always among them, so there may be one more than was asked for.
        let all = score.top.contains { $0.id == token.id } ? score.top : score.top + [token]
        top.append(.object(all.map { .init(name: name($0), value: $0.jsonLogprob) }))
    }

    /// What was added since the last call.
    mutating func take() -> JSONValue {
        defer { (tokens, logprobs, top, offsets) = ([], [], [], []) }
        return json
    }

    var json: JSONValue {
        [
            "tokens": .array(tokens), "token_logprobs": .array(logprobs), "top_logprobs": .array(top),
            "text_offset": .array(offsets),
        ]
    }

    private func name(_ token: ScoredToken) -> String { asIDs ? "token_id:\(token.id)" : Self.text(token.bytes) }

    /// A token's text; bytes that are no UTF-8 by themselves are written as OpenAI writes them.
    static func text(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return "bytes:" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

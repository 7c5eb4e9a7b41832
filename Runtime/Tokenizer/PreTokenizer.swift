// Before pairs are merged, text is cut into words. Models write the rule as a regular expression; here each
// known expression is a scanner by hand (`WordScanner+….swift`), because a general engine would be the
// largest and slowest parser in the sandbox. An expression that is not known is refused at import: a cut
// that is almost right gives ids that are almost right, which nobody would notice.

/// How text is cut into words before merging. The raw value stands in the tables.
public enum PreTokenizer: UInt32, Sendable, Hashable {
    /// Qwen2 and its descendants: contractions, letters with one leading character, single digits,
    /// punctuation with trailing newlines, blanks.
    case qwen2 = 1
    /// GPT-2 and its descendants, OLMoE among them: contractions, letters, numbers, punctuation, each with a blank
    /// before it; blanks.
    case gpt2 = 2
    /// SentencePiece: not at all, but blanks are written as "▁", and characters without a token as bytes.
    case metaspace = 3

    /// The regular expression of `qwen2` as `tokenizer.json` writes it.
    public static let qwen2Expression =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"#
        + #"|\s+(?!\S)|\s+"#

    /// The scanner for the `Split` expression of a `tokenizer.json`.
    /// - Throws: `tokenizer_pretokenizer_unsupported`.
    public init(expression: String) throws(TokenizerError) {
        guard expression.utf8.elementsEqual(Self.qwen2Expression.utf8) else {
            throw Self.unsupported("the split expression \(Self.excerpt(expression))")
        }
        self = .qwen2
    }

    /// The scanner for the `tokenizer.ggml.pre` of a GGUF file.
    /// - Throws: `tokenizer_pretokenizer_unsupported`.
    public init(ggufName name: String) throws(TokenizerError) {
        switch name {
        case "qwen2": self = .qwen2
        case "olmo": self = .gpt2
        default: throw Self.unsupported("'\(Self.excerpt(name))'")
        }
    }

    private static func unsupported(_ what: String) -> TokenizerError {
        TokenizerError(
            code: "tokenizer_pretokenizer_unsupported",
            message: "pre-tokenizer: \(what) is not supported; supported are those of Qwen2, OLMoE and Mixtral, "
                + "so use a model with one of these tokenizers")
    }

    private static func excerpt(_ text: String) -> String {
        text.unicodeScalars.count > 120 ? String(String.UnicodeScalarView(text.unicodeScalars.prefix(120))) + "…" : text
    }
}

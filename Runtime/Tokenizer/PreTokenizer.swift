// Before pairs are merged, text is cut into words. Models write the rule as a regular expression; here each
// known expression is a scanner by hand (`PreTokenizer+Scan.swift`), because a general engine would be the
// largest and slowest parser in the sandbox. An expression that is not known is refused at import: a cut
// that is almost right gives ids that are almost right, which nobody would notice.

/// How text is cut into words before merging. The raw value stands in the tables.
public enum PreTokenizer: UInt32, Sendable, Hashable {
    /// Qwen2 and its descendants: contractions, letters with one leading character, single digits,
    /// punctuation with trailing newlines, blanks.
    case qwen2 = 1

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
        guard name == "qwen2" else { throw Self.unsupported("'\(Self.excerpt(name))'") }
        self = .qwen2
    }

    private static func unsupported(_ what: String) -> TokenizerError {
        TokenizerError(
            code: "tokenizer_pretokenizer_unsupported",
            message: "pre-tokenizer: \(what) is not supported; the supported one is qwen2, "
                + "so use a model with the Qwen2 tokenizer")
    }

    private static func excerpt(_ text: String) -> String {
        text.unicodeScalars.count > 120 ? String(String.UnicodeScalarView(text.unicodeScalars.prefix(120))) + "…" : text
    }
}

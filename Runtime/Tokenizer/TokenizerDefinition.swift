// What a model's files say about its tokenizer, in the files' own terms. `locum-import` fills this in from
// `tokenizer.json` or from GGUF metadata and turns it into tables (`TokenizerDefinition+Tables.swift`); the
// router sees the tables only.

/// A token that is found in the text before words are cut: a special token like `<|im_end|>`, or one that
/// the model's makers added to the vocabulary later.
public struct AddedToken: Sendable, Hashable {
    public var id: Int
    /// The text of the token as a person writes it (not in the byte-level alphabet).
    public var content: String
    /// Control token: never made from text of users, left out of answers.
    public var special: Bool
    /// Looked for after the others, in what they left.
    public var normalized: Bool
    /// Takes the whitespace before it along.
    public var lstrip: Bool
    /// Takes the whitespace after it along.
    public var rstrip: Bool
    /// Found only where no letter, digit or underscore touches it.
    public var singleWord: Bool

    public init(
        id: Int, content: String, special: Bool, normalized: Bool = false, lstrip: Bool = false,
        rstrip: Bool = false, singleWord: Bool = false
    ) {
        self.id = id
        self.content = content
        self.special = special
        self.normalized = normalized
        self.lstrip = lstrip
        self.rstrip = rstrip
        self.singleWord = singleWord
    }
}

/// A BPE tokenizer as a model describes it: byte-level, or SentencePiece's.
public struct TokenizerDefinition: Sendable {
    /// id → vocabulary string in the byte-level alphabet; "" is a hole.
    public var tokens: [String]
    /// Pairs of vocabulary strings, the first to be merged first.
    public var merges: [(String, String)]
    /// id → score, in place of merges: two neighbours whose joined text is in the vocabulary are merged, the highest
    /// score first, the leftmost of equals. Empty where there are merges.
    public var scores: [Float]
    /// Tokens found before words are cut. Ids may lie in `tokens` (with the same text or a hole there) or
    /// after its end.
    public var added: [AddedToken]
    public var preTokenizer: PreTokenizer
    /// Where SentencePiece text gets a blank in front.
    public var blankPrefix: BlankPrefix
    /// Whether a text that begins with a blank is decoded without it.
    public var dropsFirstBlank: Bool
    /// Whether text is brought to Unicode's composed normal form first.
    public var normalizesNFC: Bool
    public var bosToken: Int?
    /// Whether a prompt begins with `bosToken`.
    public var addsBos: Bool

    public init(
        tokens: [String], merges: [(String, String)], scores: [Float] = [], added: [AddedToken],
        preTokenizer: PreTokenizer, blankPrefix: BlankPrefix = .never, dropsFirstBlank: Bool = false,
        normalizesNFC: Bool, bosToken: Int? = nil, addsBos: Bool = false
    ) {
        self.tokens = tokens
        self.merges = merges
        self.scores = scores
        (self.blankPrefix, self.dropsFirstBlank) = (blankPrefix, dropsFirstBlank)
        self.added = added
        self.preTokenizer = preTokenizer
        self.normalizesNFC = normalizesNFC
        self.bosToken = bosToken
        self.addsBos = addsBos
    }
}

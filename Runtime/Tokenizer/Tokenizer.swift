// The tokenizer of a router: a view on tables that lie in its mapped shard. What it allocates for itself is
// the short list of added tokens; the vocabulary and the merges stay in the mapping, shared by all routers of
// the model and dropped by the kernel when nobody reads them.

/// A BPE tokenizer over mapped tables.
@safe public struct Tokenizer {
    /// Ids are below this; some of them may be holes.
    public let vocabularySize: Int
    /// The token a text begins with, where the model has one.
    public let bosToken: Int32?
    /// Whether the model wants its prompts to begin with `bosToken`. `encode` never adds it.
    public let addsBos: Bool
    /// Whether a text that begins with a blank is decoded without it: see `UTF8Assembler`.
    public let dropsFirstBlank: Bool

    let tables: TableView
    /// Added tokens looked for first, and those looked for in what is left then.
    let firstAdded: AddedTokenFinder
    let laterAdded: AddedTokenFinder
    /// Ids of special tokens, sorted.
    private let specials: [Int32]

    /// Opens tables that `TokenizerDefinition.encodeTables()` made. Everything is checked here, once.
    /// - Parameter tables: stays mapped and unchanged for as long as the tokenizer is used.
    /// - Throws: `tokenizer_tables_damaged`.
    public init(tables bytes: UnsafeRawBufferPointer) throws(TokenizerError) {
        let tables = unsafe try TableView(validating: bytes)
        var first: [AddedTokenFinder.Entry] = []
        var later: [AddedTokenFinder.Entry] = []
        var specials: [Int32] = []
        for index in 0..<tables.layout.added {
            let row = tables.layout.addedRows + 8 * index
            let token = Int32(tables.word(row))
            let flags = AddedFlags(rawValue: tables.word(row + 4))
            let entry = AddedTokenFinder.Entry(token: token, flags: flags, content: tables.tokenBytes(Int(token)))
            // A part of a character would be found within characters and leave halves of them to the scanner.
            guard String(validating: entry.content, as: UTF8.self) != nil else {
                throw .damaged("added token \(token) is not UTF-8")
            }
            if flags.contains(.normalized) { later.append(entry) } else { first.append(entry) }
            if flags.contains(.special) { specials.append(token) }
        }
        self.tables = tables
        firstAdded = try AddedTokenFinder(first)
        laterAdded = try AddedTokenFinder(later)
        self.specials = specials.sorted()
        vocabularySize = tables.layout.vocabulary
        bosToken = tables.bosToken.map { Int32($0) }
        addsBos = tables.flags & TableLayout.addsBos != 0
        dropsFirstBlank = tables.flags & TableLayout.dropsFirstBlank != 0
    }

    /// The bytes of a token: part of a text for most, the written form for an added one, nothing for an id
    /// that is unknown or a hole. Tokens end inside characters; `UTF8Assembler` puts them together.
    public func bytes(of id: Int32) -> [UInt8] {
        id >= 0 && id < vocabularySize ? tables.tokenBytes(Int(id)) : []
    }

    /// Whether the token is a control token, which has no place in an answer's text.
    public func isSpecial(_ id: Int32) -> Bool {
        var (low, high) = (0, specials.count)
        while low < high {
            let middle = (low + high) / 2
            if specials[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low < specials.count && specials[low] == id
    }
}

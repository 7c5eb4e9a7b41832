// The tables as bytes, little endian, version 2. Every section has a length that the header's five counts
// imply, so there are no offsets that could lie: a file whose total length is not the sum is refused.
//
//   header        64 bytes: "LOCUMTK1", then words: version, flags, pre-tokenizer, vocabulary n, bos, added a,
//                 merges m, pool p, characters c, blank before text; the rest zero
//   tokenStarts   n+1 words: where each token's bytes begin in the pool; the last is p
//   byteTokens    256 words: the token of each single byte
//   characters    c × (scalar, token), sorted by scalar: what SentencePiece text begins as
//   mergeStarts   n+1 words: where the merges with this left token begin
//   merges        m × (right token, rank, merged token), sorted by left, then right
//   added         a × (token, flags), sorted by the tokens' bytes
//   pool          p bytes

/// Where the sections of the tables begin.
struct TableLayout {
    static let magic: [UInt8] = Array("LOCUMTK1".utf8)
    static let version: UInt32 = 2
    static let headerLength = 64
    static let none = UInt32.max
    static let maximumTokens = 1_000_000
    static let maximumMerges = 1_000_000
    static let maximumAdded = 1_000_000
    static let maximumCharacters = 1_000_000
    static let maximumTokenLength = 64 << 10
    static let maximumPool = 256 << 20

    /// Flags of the header.
    static let normalizesNFC: UInt32 = 1
    static let addsBos: UInt32 = 2
    static let dropsFirstBlank: UInt32 = 4
    static let cutsBeforeBlanks: UInt32 = 8
    static let knownFlags: UInt32 = 15

    let vocabulary: Int
    let added: Int
    let merges: Int
    let pool: Int
    let characters: Int

    var tokenStarts: Int { Self.headerLength }
    var byteTokens: Int { tokenStarts + 4 * (vocabulary + 1) }
    var characterRows: Int { byteTokens + 4 * 256 }
    var mergeStarts: Int { characterRows + 8 * characters }
    var mergeRows: Int { mergeStarts + 4 * (vocabulary + 1) }
    var addedRows: Int { mergeRows + 12 * merges }
    var poolStart: Int { addedRows + 8 * added }
    var total: Int { poolStart + pool }
}

/// Flags of an added token.
struct AddedFlags: OptionSet {
    let rawValue: UInt32
    static let special = AddedFlags(rawValue: 1)
    static let normalized = AddedFlags(rawValue: 2)
    static let lstrip = AddedFlags(rawValue: 4)
    static let rstrip = AddedFlags(rawValue: 8)
    static let singleWord = AddedFlags(rawValue: 16)
    static let known: AddedFlags = [.special, .normalized, .lstrip, .rstrip, .singleWord]
}

// The tables where they are mapped. The whole block is checked once, when it is opened: every count, every
// start, every token number. Afterwards reads are in range by construction, and a precondition still stands
// in front of each raw load, so that a mistake here ends the worker rather than reading its neighbourhood.

/// Checked tables. Valid while the mapping is; the owner of the mapping outlives it.
@safe struct TableView {
    private let bytes: UnsafeRawBufferPointer
    let layout: TableLayout
    let preTokenizer: PreTokenizer
    let blankPrefix: BlankPrefix
    let flags: UInt32
    let bosToken: UInt32?

    /// - Throws: `tokenizer_tables_damaged`.
    init(validating bytes: UnsafeRawBufferPointer) throws(TokenizerError) {
        unsafe self.bytes = unsafe bytes
        let count = bytes.count
        guard count >= TableLayout.headerLength else { throw .damaged("\(count) bytes are too few") }
        func header(_ index: Int) -> UInt32 { unsafe Self.word(bytes, 8 + 4 * index) }
        guard unsafe bytes.prefix(8).elementsEqual(TableLayout.magic), header(0) == TableLayout.version else {
            throw .damaged("they do not begin as version \(TableLayout.version) does")
        }
        flags = header(1)
        guard flags & ~TableLayout.knownFlags == 0 else { throw .damaged("unknown flags \(flags)") }
        guard let preTokenizer = PreTokenizer(rawValue: header(2)) else {
            throw .damaged("unknown pre-tokenizer \(header(2))")
        }
        self.preTokenizer = preTokenizer
        guard let blankPrefix = BlankPrefix(rawValue: header(9)) else {
            throw .damaged("unknown blank before text \(header(9))")
        }
        self.blankPrefix = blankPrefix
        layout = TableLayout(
            vocabulary: Int(header(3)), added: Int(header(5)), merges: Int(header(6)), pool: Int(header(7)),
            characters: Int(header(8)))
        guard layout.vocabulary <= TableLayout.maximumTokens, layout.added <= TableLayout.maximumAdded,
            layout.merges <= TableLayout.maximumMerges, layout.pool <= TableLayout.maximumPool,
            layout.characters <= TableLayout.maximumCharacters, layout.total == count
        else { throw .damaged("\(count) bytes do not fit their own counts") }
        bosToken = header(4) == TableLayout.none ? nil : header(4)
        if let bosToken, bosToken >= layout.vocabulary { throw .damaged("no token \(bosToken) to begin with") }
        guard bosToken != nil || flags & TableLayout.addsBos == 0 else { throw .damaged("no token to begin with") }
        try checkStarts(layout.tokenStarts, limit: layout.pool, "token")
        try checkStarts(layout.mergeStarts, limit: layout.merges, "merge")
        try checkTokens()
        try checkCharacters()
    }

    private func checkStarts(_ section: Int, limit: Int, _ what: String) throws(TokenizerError) {
        var previous = 0
        for index in 0...layout.vocabulary {
            let start = Int(word(section + 4 * index))
            guard start >= previous, start <= limit else { throw .damaged("start of \(what) \(index) is \(start)") }
            previous = start
        }
        guard word(section) == 0, previous == limit else { throw .damaged("\(what)s end at \(previous), not \(limit)") }
    }

    private func checkTokens() throws(TokenizerError) {
        for byte in 0..<256 where word(layout.byteTokens + 4 * byte) >= layout.vocabulary {
            throw .damaged("no token for the byte \(byte)")
        }
        for merge in 0..<layout.merges {
            let row = layout.mergeRows + 12 * merge
            guard word(row) < layout.vocabulary, word(row + 8) < layout.vocabulary else {
                throw .damaged("merge \(merge) names no token")
            }
        }
        for added in 0..<layout.added {
            let row = layout.addedRows + 8 * added
            guard word(row) < layout.vocabulary, !tokenRange(Int(word(row))).isEmpty,
                AddedFlags(rawValue: word(row + 4)).isSubset(of: .known)
            else { throw .damaged("added token \(added) is not one") }
        }
    }

    private func checkCharacters() throws(TokenizerError) {
        var least: UInt32 = 0
        for character in 0..<layout.characters {
            let row = layout.characterRows + 8 * character
            guard word(row) >= least, Unicode.Scalar(word(row)) != nil, word(row + 4) < layout.vocabulary else {
                throw .damaged("character \(character) is none or names no token")
            }
            least = word(row) + 1
        }
    }

    /// The little-endian word at a byte offset.
    func word(_ offset: Int) -> UInt32 { unsafe Self.word(bytes, offset) }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
        precondition(offset >= 0 && offset <= bytes.count - 4)
        return UInt32(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Where a token's bytes lie in the pool.
    /// - Parameter token: in 0..<vocabulary.
    func tokenRange(_ token: Int) -> Range<Int> {
        Int(word(layout.tokenStarts + 4 * token))..<Int(word(layout.tokenStarts + 4 * token + 4))
    }

    /// A token's bytes.
    /// - Parameter token: in 0..<vocabulary.
    func tokenBytes(_ token: Int) -> [UInt8] {
        let range = tokenRange(token)
        let start = layout.poolStart + range.lowerBound
        unsafe precondition(start + range.count <= bytes.count)
        return unsafe Array(bytes[start..<start + range.count])
    }

    /// The token of a character, if it has one.
    func character(_ scalar: UInt32) -> UInt32? {
        var (low, high) = (0, layout.characters)
        while low < high {
            let middle = (low + high) / 2
            if word(layout.characterRows + 8 * middle) < scalar { low = middle + 1 } else { high = middle }
        }
        let row = layout.characterRows + 8 * low
        return low < layout.characters && word(row) == scalar ? word(row + 4) : nil
    }

    /// The token of a single byte.
    func byte(_ byte: UInt8) -> UInt32 { word(layout.byteTokens + 4 * Int(byte)) }

    /// The merge of two neighbours, if the model has one.
    func merge(_ left: UInt32, _ right: UInt32) -> (rank: UInt32, merged: UInt32)? {
        var low = Int(word(layout.mergeStarts + 4 * Int(left)))
        let end = Int(word(layout.mergeStarts + 4 * Int(left) + 4))
        var high = end
        while low < high {
            let middle = (low + high) / 2
            if word(layout.mergeRows + 12 * middle) < right { low = middle + 1 } else { high = middle }
        }
        let row = layout.mergeRows + 12 * low
        guard low < end, word(row) == right else { return nil }
        return (word(row + 4), word(row + 8))
    }
}

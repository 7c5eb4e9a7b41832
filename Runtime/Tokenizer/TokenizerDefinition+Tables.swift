// From a definition to the tables that a router maps. Everything that could make the tables ambiguous is
// refused here, with the token's name, so that the router needs no opinion: two tokens with one text, a merge
// of tokens that do not exist, a byte that no token can express.

extension TokenizerDefinition {
    /// The tables as one block of bytes, to be stored and mapped as they are (layout: `TableLayout`).
    /// - Throws: `tokenizer_too_large`, `tokenizer_duplicate`, `tokenizer_bad_token`, `tokenizer_bad_merge`.
    public func encodeTables() throws(TokenizerError) -> [UInt8] {
        try checkCounts()
        let ids = try vocabularyIds()
        let contents = try tokenBytes()
        let byteTokens = try byteTokens(ids)
        let rows = try scores.isEmpty ? mergeRows(ids) : scoredRows(ids)
        let characters = characters(ids)
        let sortedAdded = added.sorted { contents[$0.id].lexicographicallyPrecedes(contents[$1.id]) }

        let pool = contents.reduce(0) { $0 + $1.count }
        guard pool <= TableLayout.maximumPool else {
            throw Self.tooLarge("\(pool) bytes of token text", "\(TableLayout.maximumPool)")
        }
        let layout = TableLayout(
            vocabulary: contents.count, added: added.count, merges: rows.count, pool: pool,
            characters: characters.count)
        var out: [UInt8] = []
        out.reserveCapacity(layout.total)
        out += TableLayout.magic
        for word in [
            TableLayout.version, flags, preTokenizer.rawValue, UInt32(contents.count),
            bosToken.map { UInt32($0) } ?? TableLayout.none, UInt32(added.count), UInt32(rows.count), UInt32(pool),
            UInt32(characters.count), blankPrefix.rawValue,
        ] { out.append(word: word) }
        out += [UInt8](repeating: 0, count: TableLayout.headerLength - out.count)

        var start: UInt32 = 0
        for bytes in contents {
            out.append(word: start)
            start += UInt32(bytes.count)
        }
        out.append(word: start)
        for token in byteTokens { out.append(word: token) }
        for character in characters {
            out.append(word: character.scalar)
            out.append(word: character.token)
        }
        var row = 0
        for left in 0...contents.count {
            while row < rows.count, rows[row].left < left { row += 1 }
            out.append(word: UInt32(row))
        }
        for row in rows {
            out.append(word: row.right)
            out.append(word: row.rank)
            out.append(word: row.merged)
        }
        for token in sortedAdded {
            out.append(word: UInt32(token.id))
            out.append(word: token.flags.rawValue)
        }
        for bytes in contents { out += bytes }
        return out
    }

    private var flags: UInt32 {
        (normalizesNFC ? TableLayout.normalizesNFC : 0) | (addsBos ? TableLayout.addsBos : 0)
            | (dropsFirstBlank ? TableLayout.dropsFirstBlank : 0)
            | (tokensGoOverBlanks ? 0 : TableLayout.cutsBeforeBlanks)
    }

    /// The bytes of vocabulary strings → their ids: what merging works with. Added tokens after the vocabulary's
    /// end are found in the text and never merged, so one of them may have the same bytes as another token.
    private func vocabularyIds() throws(TokenizerError) -> [[UInt8]: UInt32] {
        let addedIds = Set(added.map(\.id))
        var ids: [[UInt8]: UInt32] = Dictionary(minimumCapacity: tokens.count)
        for (id, string) in tokens.enumerated() where !string.isEmpty {
            guard string.utf8.count <= TableLayout.maximumTokenLength else {
                throw Self.badToken(id, string, "it is longer than \(TableLayout.maximumTokenLength) bytes")
            }
            guard let bytes = key(of: string) else {
                // GGUF lists added tokens in the vocabulary too, as they are written.
                if addedIds.contains(id) { continue }
                throw Self.badToken(id, string, "it has a character outside the byte-level alphabet")
            }
            if let other = ids.updateValue(UInt32(id), forKey: bytes) {
                throw Self.duplicate("tokens \(other) and \(id) have the same text \(Self.quote(string))")
            }
        }
        return ids
    }

    /// What merging knows a vocabulary string by: its bytes, for SentencePiece the string as it is. nil when it is not
    /// of the byte-level alphabet.
    private func key(of string: String) -> [UInt8]? {
        preTokenizer == .metaspace ? Array(string.utf8) : ByteAlphabet.bytes(of: string)
    }

    /// id → the bytes a token stands for, added tokens included. Shape: (highest id + 1,).
    private func tokenBytes() throws(TokenizerError) -> [[UInt8]] {
        // The strings were checked by `vocabularyIds`; what has no bytes in the alphabet is an added token.
        var contents = tokens.map {
            preTokenizer == .metaspace ? Metaspace.bytes(of: $0) : ByteAlphabet.bytes(of: $0) ?? []
        }
        var seenIds: Set<Int> = []
        var seenTexts: Set<[UInt8]> = []
        for token in added {
            guard (0..<TableLayout.maximumTokens).contains(token.id) else {
                throw Self.badToken(token.id, token.content, "its id is not in 0 to \(TableLayout.maximumTokens - 1)")
            }
            let bytes = Array(token.content.utf8)
            if preTokenizer == .metaspace, token.normalized || token.content.unicodeScalars.contains(Metaspace.mark) {
                throw Self.badToken(
                    token.id, token.content, "it is looked for after blanks were changed, which is not supported")
            }
            guard !bytes.isEmpty, bytes.count <= TableLayout.maximumTokenLength else {
                throw Self.badToken(
                    token.id, token.content, "an added token has 1 to \(TableLayout.maximumTokenLength) bytes")
            }
            guard seenIds.insert(token.id).inserted else {
                throw Self.duplicate("two added tokens have the id \(token.id)")
            }
            guard seenTexts.insert(bytes).inserted else {
                throw Self.duplicate("two added tokens have the text \(Self.quote(token.content))")
            }
            if tokens.indices.contains(token.id), !tokens[token.id].isEmpty, contents[token.id] != bytes,
                !tokens[token.id].utf8.elementsEqual(bytes)
            {
                throw Self.duplicate(
                    "id \(token.id) is both \(Self.quote(tokens[token.id])) in the vocabulary and the added token "
                        + Self.quote(token.content))
            }
            if token.id >= contents.count {
                contents += [[UInt8]](repeating: [], count: token.id + 1 - contents.count)
            }
            contents[token.id] = bytes
        }
        if let bosToken, !contents.indices.contains(bosToken) {
            throw Self.badToken(bosToken, "", "the beginning-of-text token is not in the vocabulary")
        }
        if addsBos, bosToken == nil {
            throw .init(
                code: "tokenizer_bad_token",
                message: "prompts are to begin with a beginning-of-text token, but the model names none; "
                    + "set bos_token in tokenizer_config.json")
        }
        return contents
    }

    private func checkCounts() throws(TokenizerError) {
        if tokens.count > TableLayout.maximumTokens {
            throw Self.tooLarge("\(tokens.count) tokens", "\(TableLayout.maximumTokens)")
        }
        if merges.count > TableLayout.maximumMerges {
            throw Self.tooLarge("\(merges.count) merges", "\(TableLayout.maximumMerges)")
        }
        if added.count > TableLayout.maximumAdded {
            throw Self.tooLarge("\(added.count) added tokens", "\(TableLayout.maximumAdded)")
        }
    }

    private func byteTokens(_ ids: [[UInt8]: UInt32]) throws(TokenizerError) -> [UInt32] {
        var tokens: [UInt32] = []
        for byte in UInt8.min...UInt8.max {
            guard let id = ids[preTokenizer == .metaspace ? Metaspace.name(of: byte) : [byte]] else {
                throw .init(
                    code: "tokenizer_bad_token",
                    message: "no token stands for the byte \(byte), so not every text could be encoded; "
                        + "the vocabulary is not complete")
            }
            tokens.append(id)
        }
        return tokens
    }

    struct MergeRow {
        var left, right, rank, merged: UInt32
    }

    private func mergeRows(_ ids: [[UInt8]: UInt32]) throws(TokenizerError) -> [MergeRow] {
        let special = Set(added.filter(\.special).map(\.id))
        var rows: [UInt64: MergeRow] = Dictionary(minimumCapacity: merges.count)
        for (rank, pair) in merges.enumerated() {
            guard let left = key(of: pair.0), let leftId = ids[left],
                let right = key(of: pair.1), let rightId = ids[right],
                let merged = ids[left + right]
            else {
                throw .init(
                    code: "tokenizer_bad_merge",
                    message: "merge \(rank), \(Self.quote(pair.0)) with \(Self.quote(pair.1)), "
                        + "names or makes a token that is not in the vocabulary; fetch the model again")
            }
            // No text becomes a control token.
            if special.contains(Int(merged)) { continue }
            // A pair that is listed twice has its last rank, as in Hugging Face's tokenizers.
            rows[UInt64(leftId) << 32 | UInt64(rightId)] = MergeRow(
                left: leftId, right: rightId, rank: UInt32(rank), merged: merged)
        }
        return rows.values.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
    }

    static func tooLarge(_ what: String, _ limit: String) -> TokenizerError {
        .init(code: "tokenizer_too_large", message: "the tokenizer has \(what), more than the limit of \(limit)")
    }

    private static func duplicate(_ what: String) -> TokenizerError {
        .init(code: "tokenizer_duplicate", message: "\(what); the tokenizer is damaged, fetch the model again")
    }

    static func badToken(_ id: Int, _ text: String, _ why: String) -> TokenizerError {
        .init(
            code: "tokenizer_bad_token",
            message: "token \(id) \(quote(text)): \(why); the vocabulary is not one that Locum knows")
    }

    /// A short form of a token for a message.
    private static func quote(_ text: String) -> String {
        let scalars = text.unicodeScalars
        return "'\(String(String.UnicodeScalarView(scalars.prefix(60))))\(scalars.count > 60 ? "…" : "")'"
    }
}

extension AddedToken {
    fileprivate var flags: AddedFlags {
        var flags: AddedFlags = []
        if special { flags.insert(.special) }
        if normalized { flags.insert(.normalized) }
        if lstrip { flags.insert(.lstrip) }
        if rstrip { flags.insert(.rstrip) }
        if singleWord { flags.insert(.singleWord) }
        return flags
    }
}

extension [UInt8] {
    fileprivate mutating func append(word: UInt32) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) { append(UInt8(truncatingIfNeeded: word >> shift)) }
    }
}

// What SentencePiece's tables have beside those of byte-level BPE: the tokens that single characters begin as, and where
// a vocabulary comes with scores instead of merges, the merges that follow.

extension TokenizerDefinition {
    /// Longest token that is looked at for merges that make it, in bytes; SentencePiece makes none of more than 16
    /// characters unless it is told to.
    private static let longestMerged = 256

    /// The tokens of single characters, by scalar; none for byte-level BPE.
    func characters(_ ids: [[UInt8]: UInt32]) -> [(scalar: UInt32, token: UInt32)] {
        guard preTokenizer == .metaspace else { return [] }
        var characters: [(scalar: UInt32, token: UInt32)] = []
        for string in tokens {
            let scalars = string.unicodeScalars
            guard scalars.count == 1, let scalar = scalars.first, let id = ids[Array(string.utf8)] else { continue }
            characters.append((scalar.value, id))
        }
        return characters.sorted { $0.scalar < $1.scalar }
    }

    /// Whether a token has a "▁" behind anything else.
    var tokensGoOverBlanks: Bool {
        guard preTokenizer == .metaspace else { return true }
        return tokens.contains { $0.unicodeScalars.drop { $0 == Metaspace.mark }.contains(Metaspace.mark) }
    }

    /// Every way to make a token of two, ranked by the token's score; equal scores have equal ranks.
    func scoredRows(_ ids: [[UInt8]: UInt32]) throws(TokenizerError) -> [MergeRow] {
        let ranks = try ranks()
        var rows: [MergeRow] = []
        for (id, string) in tokens.enumerated() where !string.isEmpty && Metaspace.byte(named: string) == nil {
            let bytes = Array(string.utf8)
            guard bytes.count <= Self.longestMerged else {
                throw Self.badToken(id, string, "it is longer than \(Self.longestMerged) bytes")
            }
            for cut in bytes.indices.dropFirst() where bytes[cut] & 0xC0 != 0x80 {
                guard let left = ids[Array(bytes[..<cut])], let right = ids[Array(bytes[cut...])] else { continue }
                rows.append(MergeRow(left: left, right: right, rank: ranks[id], merged: UInt32(id)))
            }
            guard rows.count <= TableLayout.maximumMerges else {
                throw Self.tooLarge("over \(TableLayout.maximumMerges) merges", "\(TableLayout.maximumMerges)")
            }
        }
        return rows.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
    }

    /// id → rank, the highest score first.
    private func ranks() throws(TokenizerError) -> [UInt32] {
        guard scores.count >= tokens.count, !scores.contains(where: \.isNaN) else {
            throw TokenizerError(
                code: "tokenizer_bad_token",
                message: "there are \(scores.count) scores for \(tokens.count) tokens, or one is no number; "
                    + "fetch the model again")
        }
        var ranks = [UInt32](repeating: 0, count: tokens.count)
        var (rank, last): (UInt32, Float?) = (0, nil)
        for id in tokens.indices.sorted(by: { scores[$0] > scores[$1] }) {
            if let last, last != scores[id] { rank += 1 }
            (ranks[id], last) = (rank, scores[id])
        }
        return ranks
    }
}

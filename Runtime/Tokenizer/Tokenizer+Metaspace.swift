// SentencePiece text: blanks become "▁", perhaps one more in front, and the stretch is merged as one word that begins as
// its characters' tokens; a character that has none begins as its bytes. Where no token goes on over the beginning of a
// run of blanks, the stretch is cut there, which changes nothing but the length of what is merged at once.

extension Tokenizer {
    private static let mark: UInt32 = 0x2581

    /// Appends the tokens of a stretch between added tokens.
    /// - Parameter text: valid UTF-8 in `range`, which is not empty.
    func appendPieces(of text: [UInt8], _ range: Range<Int>, _ merger: inout PairMerger, _ ids: inout [Int32]) {
        let cuts = tables.flags & TableLayout.cutsBeforeBlanks != 0
        var inBlanks = true
        if needsBlank(before: range, of: text) { begin(Self.mark, &merger) }
        for scalar in String(decoding: text[range], as: UTF8.self).unicodeScalars {
            let value = scalar == " " ? Self.mark : scalar.value
            if cuts, value == Self.mark, !inBlanks { merger.finish(into: &ids) }
            inBlanks = value == Self.mark
            begin(value, &merger)
        }
        merger.finish(into: &ids)
    }

    private func begin(_ scalar: UInt32, _ merger: inout PairMerger) {
        if let token = tables.character(scalar) { return merger.begin(with: token) }
        // All scalars come out of text or are the mark.
        for byte in Unicode.Scalar(scalar).flatMap({ UTF8.encode($0) }) ?? UTF8.encodedReplacementCharacter {
            merger.begin(with: tables.byte(byte))
        }
    }

    private func needsBlank(before range: Range<Int>, of text: [UInt8]) -> Bool {
        let hasOne = text[range].first == 0x20 || text[range].starts(with: "▁".utf8)
        switch tables.blankPrefix {
        case .never: return false
        case .eachStretch: return true
        case .eachStretchWithout: return !hasOne
        case .firstWithout: return !hasOne && range.lowerBound == 0
        }
    }
}

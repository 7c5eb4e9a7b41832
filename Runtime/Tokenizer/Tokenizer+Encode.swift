// Text to ids: added tokens are cut out, what lies between is normalised, cut into words and merged.
//
// A prompt is made of pieces that are trusted (the template's own text) and pieces that are not (what people
// wrote). Special tokens are recognised only where every byte is trusted, so nobody can end his turn by
// writing `<|im_end|>`; but words are cut across the pieces' borders, because that is what the model saw in
// training: the ids are those of the whole text with some of it not parsed.
@_spi(_Unicode) import Swift

/// A stretch of a prompt.
public struct TextPiece: Sendable, Hashable {
    /// UTF-8; what is not valid becomes U+FFFD.
    public var utf8: [UInt8]
    /// Whether special tokens are recognised in it. Added tokens that are not special always are.
    public var parsesSpecial: Bool

    public init(utf8: [UInt8], parsesSpecial: Bool) {
        self.utf8 = utf8
        self.parsesSpecial = parsesSpecial
    }
}

extension Tokenizer {
    /// The ids of a text. Nothing is added at its beginning.
    public func encode(_ utf8: [UInt8], parseSpecial: Bool) -> [Int32] {
        encode([TextPiece(utf8: utf8, parsesSpecial: parseSpecial)])
    }

    /// The ids of the pieces as one text. Nothing is added at its beginning. Time grows as n log n.
    public func encode(_ pieces: [TextPiece]) -> [Int32] {
        var text: [UInt8] = []
        var trusted: [Range<Int>] = []
        for piece in pieces {
            let start = text.count
            text += UTF8Assembler.repaired(piece.utf8)
            guard piece.parsesSpecial, start < text.count else { continue }
            if let last = trusted.last, last.upperBound == start {
                trusted[trusted.count - 1] = last.lowerBound..<text.count
            } else {
                trusted.append(start..<text.count)
            }
        }
        var ids: [Int32] = []
        var merger = PairMerger(tables: tables)
        eachPart(of: text, 0..<text.count, firstAdded, trusted) { part in
            if let token = part.token { return ids.append(token) }
            eachPart(of: text, part.range, laterAdded, trusted) { part in
                if let token = part.token { return ids.append(token) }
                appendWords(of: text, part.range, &merger, &ids)
            }
        }
        return ids
    }

    /// Cuts a stretch of text into added tokens and what lies between them, in order.
    ///
    /// Tokens that a model marks `normalized` are looked for in the text as it is written, not in its composed
    /// form: they are ASCII in every published model, and trust is known for the written bytes only.
    private func eachPart(
        of text: [UInt8], _ range: Range<Int>, _ finder: AddedTokenFinder, _ trusted: [Range<Int>],
        _ body: ((range: Range<Int>, token: Int32?)) -> Void
    ) {
        var done = range.lowerBound
        var position = range.lowerBound
        while !finder.isEmpty, position < range.upperBound {
            guard let entry = finder.longest(in: text, at: position, end: range.upperBound) else {
                position += 1
                continue
            }
            var match = position..<position + entry.content.count
            position = match.upperBound
            if entry.flags.contains(.special) {
                guard Self.contains(trusted, match) else { continue }
            }
            if entry.flags.contains(.singleWord), touchesWord(text, match, within: range) { continue }
            if entry.flags.contains(.lstrip) {
                match = blanks(text, endingAt: match.lowerBound, from: done)..<match.upperBound
            }
            if entry.flags.contains(.rstrip) {
                match = match.lowerBound..<blanks(text, startingAt: match.upperBound, to: range.upperBound)
            }
            if done < match.lowerBound { body((done..<match.lowerBound, nil)) }
            body((match, entry.token))
            done = match.upperBound
            position = max(position, done)
        }
        if done < range.upperBound { body((done..<range.upperBound, nil)) }
    }

    /// Whether one of the stretches, which are sorted and apart, holds all of the range.
    private static func contains(_ stretches: [Range<Int>], _ range: Range<Int>) -> Bool {
        var (low, high) = (0, stretches.count)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].upperBound < range.upperBound { low = middle + 1 } else { high = middle }
        }
        return low < stretches.count && stretches[low].lowerBound <= range.lowerBound
    }

    private func appendWords(of text: [UInt8], _ range: Range<Int>, _ merger: inout PairMerger, _ ids: inout [Int32]) {
        if tables.preTokenizer == .metaspace { return appendPieces(of: text, range, &merger, &ids) }
        guard tables.flags & TableLayout.normalizesNFC != 0, !text[range].allSatisfy({ $0 < 0x80 }) else {
            return appendWords(ofNormal: text, range, &merger, &ids)
        }
        var normal: [UInt8] = []
        normal.reserveCapacity(range.count)
        for scalar in String(decoding: text[range], as: UTF8.self)._nfc {
            normal += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
        }
        appendWords(ofNormal: normal, 0..<normal.count, &merger, &ids)
    }

    private func appendWords(
        ofNormal text: [UInt8], _ range: Range<Int>, _ merger: inout PairMerger, _ ids: inout [Int32]
    ) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = tables.preTokenizer.wordEnd(in: text, from: start, to: range.upperBound)
            merger.merge(text, from: start, to: end, into: &ids)
            start = end
        }
    }

    private func touchesWord(_ text: [UInt8], _ match: Range<Int>, within range: Range<Int>) -> Bool {
        let before = String(
            decoding: text[max(range.lowerBound, match.lowerBound - 4)..<match.lowerBound], as: UTF8.self)
        let after = String(
            decoding: text[match.upperBound..<min(range.upperBound, match.upperBound + 4)], as: UTF8.self)
        return [before.unicodeScalars.last, after.unicodeScalars.first].contains { $0.map(Self.isWord) ?? false }
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark: true
        default: scalar.properties.isAlphabetic
        }
    }

    /// Where the whitespace that ends at `end` begins.
    private func blanks(_ text: [UInt8], endingAt end: Int, from start: Int) -> Int {
        var position = end
        for scalar in String(decoding: text[start..<end], as: UTF8.self).unicodeScalars.reversed() {
            guard scalar.properties.isWhitespace else { break }
            position -= UTF8.width(scalar)
        }
        return position
    }

    /// Where the whitespace that begins at `start` ends.
    private func blanks(_ text: [UInt8], startingAt start: Int, to end: Int) -> Int {
        var position = start
        while position < end {
            let next = String(decoding: text[position..<min(end, position + 4)], as: UTF8.self).unicodeScalars.first
            guard let next, next.properties.isWhitespace else { break }
            position += UTF8.width(next)
        }
        return position
    }
}

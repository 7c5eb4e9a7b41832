// Text that remembers which of its bytes came out of messages. The marks go along through everything a
// template does with text, so that what a person wrote stays marked wherever it is put.

/// Bytes and the stretches of them that people wrote.
struct MarkedText {
    private(set) var bytes: [UInt8] = []
    /// Sorted, apart from each other, not empty.
    private(set) var marked: [Range<Int>] = []

    init() {}

    init(_ bytes: [UInt8], isUserContent: Bool) {
        self.bytes = bytes
        if isUserContent, !bytes.isEmpty { marked = [0..<bytes.count] }
    }

    init(_ text: String) { bytes = Array(text.utf8) }

    /// How much handling the text costs.
    var cost: Int { bytes.count + 16 * marked.count }

    mutating func append(_ other: MarkedText) {
        let offset = bytes.count
        bytes += other.bytes
        for range in other.marked {
            let range = range.lowerBound + offset..<range.upperBound + offset
            if let last = marked.last, last.upperBound == range.lowerBound {
                marked[marked.count - 1] = last.lowerBound..<range.upperBound
            } else {
                marked.append(range)
            }
        }
    }

    subscript(_ range: Range<Int>) -> MarkedText {
        var part = MarkedText()
        part.bytes = Array(bytes[range])
        for mark in marked {
            let mark = mark.clamped(to: range)
            if !mark.isEmpty {
                part.marked.append(mark.lowerBound - range.lowerBound..<mark.upperBound - range.lowerBound)
            }
        }
        return part
    }

    /// The stretches in order.
    var segments: [Segment] {
        var segments: [Segment] = []
        var done = 0
        for range in marked {
            if done < range.lowerBound {
                segments.append(Segment(text: Array(bytes[done..<range.lowerBound]), isUserContent: false))
            }
            segments.append(Segment(text: Array(bytes[range]), isUserContent: true))
            done = range.upperBound
        }
        if done < bytes.count { segments.append(Segment(text: Array(bytes[done...]), isUserContent: false)) }
        return segments
    }

    /// Without the whitespace around it, as Python's `str.strip` understands whitespace.
    var trimmed: MarkedText { stripped(left: true, right: true, of: Self.isSpace) }

    /// Without the characters of a kind at its ends.
    func stripped(left: Bool, right: Bool, of matches: (Unicode.Scalar) -> Bool) -> MarkedText {
        let text = String(decoding: bytes, as: UTF8.self).unicodeScalars
        // Bytes that are not UTF-8 count as they were repaired, so a text of those is returned as it is.
        guard text.reduce(0, { $0 + UTF8.width($1) }) == bytes.count else { return self }
        let leading = left ? text.prefix(while: matches).reduce(0) { $0 + UTF8.width($1) } : 0
        guard leading < bytes.count else { return MarkedText() }
        let trailing = right ? text.reversed().prefix(while: matches).reduce(0) { $0 + UTF8.width($1) } : 0
        return self[leading..<bytes.count - trailing]
    }

    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        (0x1C...0x1F).contains(scalar.value) || scalar.properties.isWhitespace
    }

    /// With every stretch changed by itself.
    func mapped(_ change: (String) -> String) -> MarkedText {
        var out = MarkedText()
        for segment in segments {
            let text = Array(change(String(decoding: segment.text, as: UTF8.self)).utf8)
            out.append(MarkedText(text, isUserContent: segment.isUserContent))
        }
        return out
    }
}

// Finds added tokens in text: at each position the longest one that begins there, then on from its end. The
// tokens are sorted by their bytes, so the candidates at a position are a range of the list that each further
// byte narrows; the cost per position does not grow with the number of tokens but by a logarithm.

/// The added tokens of one kind (before or after normalisation).
struct AddedTokenFinder {
    struct Entry {
        let token: Int32
        let flags: AddedFlags
        let content: [UInt8]
    }

    /// Sorted by content, no two alike.
    private let entries: [Entry]
    /// First byte → range of `entries`; 257 starts.
    private let starts: [Int]

    var isEmpty: Bool { entries.isEmpty }

    /// - Throws: `tokenizer_tables_damaged` when the entries are not sorted.
    init(_ entries: [Entry]) throws(TokenizerError) {
        var starts = [Int](repeating: 0, count: 257)
        for (index, entry) in entries.enumerated() {
            guard let first = entry.content.first,
                index == 0 || entries[index - 1].content.lexicographicallyPrecedes(entry.content)
            else { throw .damaged("added token \(entry.token) is out of order") }
            starts[Int(first) + 1] += 1
        }
        for byte in 0..<256 { starts[byte + 1] += starts[byte] }
        self.entries = entries
        self.starts = starts
    }

    /// The longest token that begins at `position` and ends at or before `end`.
    func longest(in text: [UInt8], at position: Int, end: Int) -> Entry? {
        guard position < end else { return nil }
        var low = starts[Int(text[position])]
        var high = starts[Int(text[position]) + 1]
        var depth = 1
        var best: Entry?
        while low < high {
            if entries[low].content.count == depth {
                best = entries[low]
                low += 1
            }
            guard position + depth < end else { break }
            let byte = text[position + depth]
            let from = partition(low..<high) { entries[$0].content[depth] < byte }
            high = partition(from..<high) { entries[$0].content[depth] <= byte }
            low = from
            depth += 1
        }
        return best
    }

    /// The first index of the range that the predicate, true before false, does not hold for.
    private func partition(_ range: Range<Int>, _ holds: (Int) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = (low + high) / 2
            if holds(middle) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

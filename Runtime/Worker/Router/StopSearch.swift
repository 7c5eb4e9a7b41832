// Finds the texts that end a sequence. Output is held back while it may still become one, so nothing is sent
// that would have to be taken back; the match that completes first counts, so it does not matter how the text
// was cut into tokens.

/// Looks for stop texts in a growing UTF-8 text.
struct StopSearch {
    /// Invariant: none is empty.
    private let stops: [[UInt8]]
    /// The end of the text that could be the start of a stop text.
    private var held: [UInt8] = []
    private(set) var found = false

    init(_ stops: [String]) { self.stops = stops.map { Array($0.utf8) }.filter { !$0.isEmpty } }

    /// Adds text; what is certain to stay in the output comes back. After a match: what stood before it, and
    /// nothing ever after.
    mutating func push(_ text: [UInt8]) -> [UInt8] {
        guard !found else { return [] }
        guard !stops.isEmpty else { return text }
        for byte in text {
            held.append(byte)
            guard
                let length = stops.filter({ held.count >= $0.count && held.suffix($0.count).elementsEqual($0) })
                    .map(\.count).max()
            else { continue }
            found = true
            defer { held = [] }
            return Array(held.dropLast(length))
        }
        let certain = held.count - longestStart()
        defer { held.removeFirst(certain) }
        return Array(held.prefix(certain))
    }

    /// The end of the text: what was held back belongs to it.
    mutating func finish() -> [UInt8] {
        defer { held = [] }
        return held
    }

    /// Length of the longest end of `held` that is the start of a stop text, but not the whole of it.
    private func longestStart() -> Int {
        var longest = 0
        for stop in stops {
            var length = min(held.count, stop.count - 1)
            while length > longest {
                if held.suffix(length).elementsEqual(stop.prefix(length)) { longest = length }
                length -= 1
            }
        }
        return longest
    }
}

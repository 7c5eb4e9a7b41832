// "Did you mean": the names nearest to one that does not exist, so that a typing mistake is seen at once.

public enum NearestNames {
    /// Up to `count` of `names` that are at most a third of the name's length of edits away, nearest first.
    public static func of(_ name: String, among names: some Sequence<String>, count: Int = 3) -> [String] {
        let most = max(2, name.count / 3)
        let scored = names.compactMap { candidate -> (Int, String)? in
            // Functions of a model are many: a cheap test first.
            guard abs(candidate.utf8.count - name.utf8.count) <= most else { return nil }
            let edits = distance(Array(name.utf8), Array(candidate.utf8))
            return edits <= most ? (edits, candidate) : nil
        }
        return scored.sorted { $0 < $1 }.prefix(count).map(\.1)
    }

    /// Levenshtein distance.
    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let cost = min(row[j] + 1, row[j + 1] + 1, diagonal + (x == y ? 0 : 1))
                (diagonal, row[j + 1]) = (row[j + 1], cost)
            }
        }
        return row[b.count]
    }
}

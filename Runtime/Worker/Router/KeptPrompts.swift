// What ended sequences have computed, for requests that begin with the same tokens: the next turn of a conversation, a
// system prompt. Keys and values are a function of the tokens before them, so what is taken over has the bits that
// computing it again would give.

/// Kept keys and values, the least recently used first.
struct KeptPrompts<Cache: AnyObject> {
    struct Entry {
        /// Those whose keys and values are in the cache, from position 0 on.
        let tokens: [Int32]
        /// Whose request computed them, the only one who may know of it, also by how soon an answer comes.
        let owner: UInt64
        let cache: Cache
        /// Of the memory budget.
        let bytes: Int
    }

    /// Fewer tokens are sooner computed than kept.
    static var fewest: Int { 16 }

    private var entries: [Entry] = []

    var bytes: Int { entries.reduce(0) { $0 + $1.bytes } }

    func bytes(of owner: UInt64) -> Int { entries.reduce(0) { $0 + ($1.owner == owner ? $1.bytes : 0) } }

    /// Keeps another, at most `most` in all. Those that it begins with, and the oldest, go; it goes itself if another begins
    /// with it.
    /// - Returns: bytes that came free.
    mutating func keep(_ entry: Entry, most: Int) -> Int {
        if let longer = entries.firstIndex(where: { $0.owner == entry.owner && $0.tokens.starts(with: entry.tokens) }) {
            entries.append(entries.remove(at: longer))
            return entry.bytes
        }
        let before = bytes + entry.bytes
        entries.removeAll { $0.owner == entry.owner && entry.tokens.starts(with: $0.tokens) }
        entries.append(entry)
        while entries.count > most {
            // The oldest of whoever has most: nobody's many requests throw out another's few.
            var counts: [UInt64: Int] = [:]
            for entry in entries { counts[entry.owner, default: 0] += 1 }
            let highest = counts.values.max() ?? 0
            entries.remove(at: entries.firstIndex { counts[$0.owner] == highest } ?? 0)
        }
        return before - bytes
    }

    /// The owner's entry that has most of these tokens in common from the first on, and how many those are.
    mutating func find(_ tokens: some Collection<Int32>, of owner: UInt64) -> (cache: Cache, count: Int)? {
        let common = entries.map { entry in
            entry.owner == owner ? zip(entry.tokens, tokens).prefix { $0 == $1 }.count : 0
        }
        guard let count = common.max(), count >= Self.fewest, let best = common.lastIndex(of: count) else { return nil }
        let entry = entries.remove(at: best)
        entries.append(entry)
        return (entry.cache, count)
    }

    /// Lets go of the oldest, or the oldest of an owner, until at least so many bytes are free.
    /// - Returns: bytes that came free.
    mutating func give(back bytes: Int, of owner: UInt64? = nil) -> Int {
        var freed = 0
        entries.removeAll { entry in
            guard freed < bytes, owner == nil || entry.owner == owner else { return false }
            freed += entry.bytes
            return true
        }
        return freed
    }
}

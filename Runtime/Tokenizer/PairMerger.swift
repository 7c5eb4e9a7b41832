// Byte-pair merging of one word: of all neighbours that can be merged, the pair of lowest rank first, the
// leftmost of equals, until none is left. The word is a linked list in an array and the candidates are a heap,
// so a megabyte without a blank takes n log n steps, not n². A candidate whose pair has changed since is
// recognised by its rank and skipped; should the new pair have the same one, it is as good a candidate.

/// Merges words; its buffers are used again from word to word.
struct PairMerger {
    private struct Node {
        var token: UInt32
        /// Rank of the merge with the next node; `UInt32.max` when there is none or the node is gone.
        var rank: UInt32
        var merged: UInt32
        /// Index of the neighbours; -1 at the ends.
        var previous: Int32
        var next: Int32
    }

    private let tables: TableView
    private var nodes: [Node] = []
    /// Binary heap of rank << 32 | node, the smallest first.
    private var heap: [UInt64] = []

    init(tables: TableView) { self.tables = tables }

    /// Appends the tokens of the word `text[start..<end]`.
    mutating func merge(_ text: [UInt8], from start: Int, to end: Int, into tokens: inout [Int32]) {
        for index in start..<end { begin(with: tables.byte(text[index])) }
        finish(into: &tokens)
    }

    /// Adds a token to the word that `finish` will merge.
    mutating func begin(with token: UInt32) {
        let position = Int32(nodes.count)
        nodes.append(Node(token: token, rank: .max, merged: 0, previous: position - 1, next: position + 1))
    }

    /// Merges the tokens of the word and appends what comes of them.
    mutating func finish(into tokens: inout [Int32]) {
        defer { nodes.removeAll(keepingCapacity: true) }
        if let last = nodes.indices.last { nodes[last].next = -1 }
        for index in nodes.indices { rate(index) }
        while let index = popLowest() { join(index) }
        var index = nodes.isEmpty ? -1 : 0
        while index >= 0 {
            tokens.append(Int32(nodes[index].token))
            index = Int(nodes[index].next)
        }
    }

    /// Looks up the merge of a node with its next one and makes it a candidate.
    private mutating func rate(_ index: Int) {
        let next = Int(nodes[index].next)
        guard next >= 0, let merge = tables.merge(nodes[index].token, nodes[next].token) else {
            nodes[index].rank = .max
            return
        }
        nodes[index].rank = merge.rank
        nodes[index].merged = merge.merged
        push(UInt64(merge.rank) << 32 | UInt64(index))
    }

    private mutating func join(_ index: Int) {
        let gone = Int(nodes[index].next)
        nodes[index].token = nodes[index].merged
        nodes[index].next = nodes[gone].next
        nodes[gone].rank = .max
        if nodes[index].next >= 0 { nodes[Int(nodes[index].next)].previous = Int32(index) }
        rate(index)
        if nodes[index].previous >= 0 { rate(Int(nodes[index].previous)) }
    }

    private mutating func push(_ entry: UInt64) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// The node of the lowest candidate that still holds.
    private mutating func popLowest() -> Int? {
        while let top = heap.first {
            let last = heap.removeLast()
            if !heap.isEmpty {
                heap[0] = last
                sink()
            }
            let index = Int(top & 0xFFFF_FFFF)
            let rank = UInt32(top >> 32)
            if rank != .max, nodes[index].rank == rank { return index }
        }
        return nil
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < heap[parent] else { return }
            heap.swapAt(child, parent)
            parent = child
        }
    }
}

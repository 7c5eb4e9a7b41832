// Between sequences: what one has computed may begin another. Kept memory stays reserved with node, which knows how much of
// it there is and asks for it back when somebody else needs it.
import Link

extension RouterServer {
    /// Keeps what a sequence has computed, if that is worth it.
    /// - Returns: bytes of its reservation that stay reserved; less than nothing when others made way for it.
    func keep(_ sequence: Sequence) -> Int {
        let tokens = Array(sequence.computedTokens)
        guard tokens.count >= KeptPrompts<Model.Cache>.fewest, !connection.draining else { return 0 }
        let bytes = min(sequence.reserved, model.bytes(of: sequence.cache, computed: tokens.count))
        let entry = KeptPrompts<Model.Cache>.Entry(
            tokens: tokens, owner: sequence.owner, cache: sequence.cache, bytes: bytes)
        return bytes - kept.keep(entry, most: mostSequences)
    }

    /// Fills a new sequence's cache with what is known of its tokens; answers how many positions. Who watches which experts
    /// are called sees all rows.
    func reuse(_ request: SequenceRequest, in cache: Model.Cache) -> Int {
        guard request.resumed.count < request.limit, callers.values.allSatisfy({ $0.watch == nil }),
            let (known, count) = kept.find(request.known, of: request.owner)
        else { return 0 }
        model.copy(count, from: known, to: cache)
        return count
    }

    /// Node needs memory, or an owner does.
    func giveBack(_ bytes: Int, of owner: UInt64? = nil) {
        let freed = kept.give(back: bytes, of: owner)
        if freed > 0 { connection.unreserve(freed) }
        tellKept()
    }

    /// How much of what is reserved could be had back.
    func tellKept() { connection.spare(kept.bytes) }
}

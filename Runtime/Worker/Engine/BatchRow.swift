// One row of a batch: one position of one sequence. A batch mixes sequences freely; a row's result never
// depends on the other rows but for the K and V that earlier rows of its own sequence leave in its cache.

/// A token to be computed at a position of the sequence whose keys and values `cache` holds.
struct BatchRow {
    let token: Int32
    let position: Int
    let cache: KVCache
    let wantsLogits: Bool
}

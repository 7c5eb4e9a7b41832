// All memory that a forward pass writes, reserved once for the largest batch and charged as it is used.
// After a large batch the pages that a small one does not need go back to the kernel.
import Kernels
import Shard
import Syscall
import Wire

/// Rows that are computed together, and what becomes of them beside activations.
struct Batch {
    var rows: Int { tokens.count }
    fileprivate(set) var tokens: [Int32] = []
    fileprivate(set) var positions: [Int] = []
    fileprivate(set) var places: [KVPlace] = []
    /// Index into `logits`, -1 for rows that want none.
    fileprivate(set) var logitRow: [Int] = []
    fileprivate(set) var logitRows = 0
    /// Whether each row is of a sequence of its own: then K and V can be stored and read in one go.
    fileprivate(set) var distinct = true
    /// Keeps the caches alive that `places` points into.
    fileprivate var caches: [KVCache] = []
    /// Rows that lack an expert's share and so have no right result, and why.
    var failures: [Int: EngineError] = [:]
    /// What the experts of each row have cost.
    var costs: [SequenceCost] = []
    /// Per row, when the batch is traced.
    var traces: [GateTrace] = []
    /// Experts called, while recording: (layers, rows, k).
    var recorded: [UInt16] = []
}

/// A batch and its activations. Dimensions as in `LayerWeights`; n rows.
final class Workspace {
    var batch = Batch()
    /// One that stands between two layers while others are computed, and its residual stream (n, d).
    private var displaced: Batch?
    private let displacedStream: RowBuffer

    /// The residual stream (n, d).
    let stream: RowBuffer
    /// Normalised stream (n, d), read by q, k, v, gate and up.
    let normed: RowBuffer
    /// (n, h*s), (n, g*s), (n, g*s)
    let q, k, v: RowBuffer
    /// Heads' results (n, h*s), read by o.
    let attended: RowBuffer
    /// A product that is added to the stream (n, d).
    let update: RowBuffer
    /// Gated network (n, m): gate, then its product with up, read by down.
    let gate, up: RowBuffer
    /// Router logits and probabilities (n, experts).
    let scores, probabilities: RowBuffer
    /// (n, k) chosen experts, best first, and weights; (n,) the shared expert's.
    let chosen: UnsafeMutablePointer<Int32>
    let shares: UnsafeMutablePointer<Float>
    let sharedShare: UnsafeMutablePointer<Float>
    /// Last hidden states of the rows that want logits, normalised, read by output; and their logits.
    let last: RowBuffer
    let logits: RowBuffer
    /// cos, then sin, of each row's position (n, s).
    let rotations: RowBuffer
    /// A guess of the next layer's experts: normalised rows, their scores, the experts.
    let guess, guessScores: RowBuffer
    var guesses: [Int32] = []
    /// Attention's scratch, one per thread.
    let scratch: [Mapping]

    /// Most rows of a step for which the next layer is guessed.
    static let guessRows = 8
    /// Rows that keep their pages from one batch to the next.
    private static let keptRows = 16
    private var touchedRows = 0

    init(_ c: RouterConfig, _ weights: RouterWeights, threads: Int) throws(SyscallError) {
        let n = Engine.mostRows
        let layers = weights.layers
        let networks = layers.compactMap(\.network)
        let width = networks.map(\.gate.rows).max() ?? 1
        func formats(_ matrices: [PackedMatrix]) -> [WeightFormat] { matrices.map(\.format) }
        stream = try RowBuffer(rows: n, columns: c.hidden)
        displacedStream = try RowBuffer(rows: n, columns: c.hidden)
        let readers = formats(layers.flatMap { [$0.q, $0.k, $0.v] } + networks.flatMap { [$0.gate, $0.up] })
        normed = try RowBuffer(rows: n, columns: c.hidden, readers: readers)
        q = try RowBuffer(rows: n, columns: c.heads * c.headDim)
        k = try RowBuffer(rows: n, columns: c.kvHeads * c.headDim)
        v = try RowBuffer(rows: n, columns: c.kvHeads * c.headDim)
        attended = try RowBuffer(rows: n, columns: c.heads * c.headDim, readers: formats(layers.map(\.o)))
        update = try RowBuffer(rows: n, columns: c.hidden)
        gate = try RowBuffer(rows: n, columns: width, readers: formats(networks.map(\.down)))
        up = try RowBuffer(rows: n, columns: width)
        scores = try RowBuffer(rows: n, columns: c.expertCount)
        probabilities = try RowBuffer(rows: n, columns: c.expertCount)
        last = try RowBuffer(rows: n, columns: c.hidden, readers: [weights.output.format])
        logits = try RowBuffer(rows: n, columns: c.vocabulary)
        rotations = try RowBuffer(rows: n, columns: c.headDim)
        guess = try RowBuffer(rows: Self.guessRows, columns: c.hidden)
        guessScores = try RowBuffer(rows: Self.guessRows, columns: c.expertCount)
        let scoreFloats = KVFormat.scoreFloats(positions: c.context, heads: c.heads / c.kvHeads)
        var scratch: [Mapping] = []
        for _ in 0..<threads { scratch.append(try Mapping(anonymous: scoreFloats * 4)) }
        self.scratch = scratch
        chosen = .allocate(capacity: n * c.expertsPerToken)
        shares = .allocate(capacity: n * c.expertsPerToken)
        sharedShare = .allocate(capacity: n)
        chosen.initialize(repeating: 0, count: n * c.expertsPerToken)
        shares.initialize(repeating: 0, count: n * c.expertsPerToken)
        sharedShare.initialize(repeating: 0, count: n)
    }

    deinit {
        chosen.deallocate()
        shares.deallocate()
        sharedShare.deallocate()
    }

    /// Takes on a batch.
    /// - Throws: `EngineError(invalid_batch)` naming the row that cannot be.
    func load(_ batch: [BatchRow], _ config: RouterConfig) throws(EngineError) {
        guard (1...Engine.mostRows).contains(batch.count) else {
            throw EngineError("invalid_batch", "a batch of \(batch.count) rows, not within 1 to \(Engine.mostRows)")
        }
        for (index, row) in batch.enumerated() {
            guard row.token >= 0, Int(row.token) < config.vocabulary else {
                throw EngineError("invalid_batch", "row \(index): no token \(row.token) in \(config.vocabulary)")
            }
            guard row.position >= 0, row.position < row.cache.capacity else {
                throw EngineError(
                    "invalid_batch", "row \(index): position \(row.position) of a cache for \(row.cache.capacity)")
            }
        }
        if batch.count <= Self.keptRows, touchedRows > Self.keptRows, displaced == nil { trim() }
        touchedRows = max(touchedRows, batch.count)
        var loaded = Batch()
        loaded.costs = Array(repeating: SequenceCost(), count: batch.count)
        for row in batch {
            // Rows of one sequence stand together as a rule; where they do not, this only costs one join.
            if loaded.distinct, loaded.caches.contains(where: { $0 === row.cache }) { loaded.distinct = false }
            loaded.tokens.append(row.token)
            loaded.positions.append(row.position)
            loaded.places.append(row.cache.place)
            loaded.caches.append(row.cache)
            loaded.logitRow.append(row.wantsLogits ? loaded.logitRows : -1)
            if row.wantsLogits { loaded.logitRows += 1 }
        }
        self.batch = loaded
    }

    /// Makes room for another batch between two layers of this one, unless it has been made.
    func setAside() {
        guard displaced == nil else { return }
        displaced = batch
        copy(stream, to: displacedStream)
    }

    /// Goes on with the batch that was set aside.
    /// - Returns: whether there was one; then its rotations are to be made again.
    func bringBack() -> Bool {
        guard let displaced else { return false }
        batch = displaced
        self.displaced = nil
        touchedRows = max(touchedRows, batch.rows)
        copy(displacedStream, to: stream)
        return true
    }

    private func copy(_ from: RowBuffer, to: RowBuffer) {
        for row in 0..<batch.rows { to.row(row).update(from: from.row(row), count: from.columns) }
    }

    /// Gives the pages of a large batch back, and forgets the last one.
    func trim() {
        batch.caches.removeAll()
        guard touchedRows > Self.keptRows else { return }
        for buffer in [
            stream, displacedStream, normed, q, k, v, attended, update, gate, up, scores, probabilities, last, logits,
            rotations,
        ] {
            buffer.trim(rows: Self.keptRows)
        }
        for memory in scratch { memory.discard(from: 64 << 10) }
        touchedRows = 0
    }
}

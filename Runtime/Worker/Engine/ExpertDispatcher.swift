// How the engine gets experts applied, whoever computes them. A layer's work goes: `plan` on the calling
// thread, then on every compute thread `send` and `receive` (all calls of a core are out before the first
// is awaited; the router's own work goes between the two or behind them), then `settle`, which
// says whether calls have to be repeated.
import Wire

/// One layer's rows and the experts chosen for them. Pointers stay valid until the work is settled.
struct ExpertWork {
    /// Ordinal among the layers that have experts.
    let layer: Int
    let rows: Int
    /// Normalised hidden states: row i at `hidden + i * stride`, of the model's hidden size.
    let hidden: UnsafePointer<Float>
    let stride: Int
    /// (rows, perRow): expert ids.
    let experts: UnsafePointer<Int32>
    let perRow: Int

    /// Pairs of a row and an expert.
    var pairs: Int { rows * perRow }
}

/// Applies experts to rows.
protocol ExpertDispatcher: AnyObject {
    /// Most rows of one `ExpertWork`.
    var mostRows: Int { get }

    /// (rows, perRow): where each pair's result (hidden,) lies once `settle` was true, until the next `plan`.
    var outputs: UnsafePointer<UnsafePointer<Float>?> { get }

    /// Rows of the last work whose experts cannot be had, and why: what `outputs` lacks belongs to them. The other
    /// rows' results are right.
    var failures: [Int: EngineError] { get }

    /// What has been waited for functions and their shards since the beginning, in all.
    var waited: StartCost { get }

    /// What a row of the last work has cost, once that is settled.
    func cost(row: Int) -> SequenceCost

    /// Takes on a layer's work. - Throws: `EngineError` when functions cannot be had.
    func plan(_ work: ExpertWork) throws(EngineError)

    /// Sends the calls of one compute thread.
    func send(thread: Int)

    /// Awaits them.
    func receive(thread: Int)

    /// True when every pair has its result; else `send` and `receive` have to be run again.
    func settle() throws(EngineError) -> Bool

    /// Whether calls have lately had to wait until a shard was read: then it is better to compute while they are out.
    var readsShards: Bool { get }

    /// Whether a guess of the next layer's experts is welcome now.
    var wantsHints: Bool { get }

    /// The experts that the layer of this ordinal is likely to call. Costs nothing but time when it is wrong.
    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>)

    /// Gives back what large work has touched. When all results were read.
    func trim()

    /// Lets go of functions whose instances left meanwhile. Between steps.
    func dropRevoked()
}

extension ExpertDispatcher {
    func cost(row: Int) -> SequenceCost { SequenceCost() }
}

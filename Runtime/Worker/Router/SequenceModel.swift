// What the router needs of a model: a forward pass over rows of several sequences. Stated as a protocol so
// that requests, sampling, stop texts and fairness are tested without weights, by a model made of a table.
import Wire

/// One position of one sequence to be computed.
struct StepRow<Cache> {
    let token: Int32
    let position: Int
    let cache: Cache
    let wantsLogits: Bool
}

/// What the gates decided at one position; per MoE layer.
struct GateTrace {
    /// Logits of all experts.
    var router: [[Float]] = []
    /// Chosen experts, best first.
    var experts: [[Int32]] = []
    /// What their outputs were multiplied by.
    var weights: [[Float]] = []
}

/// A forward pass whose rows never depend on what else is in the batch.
protocol SequenceModel: AnyObject {
    /// Keys and values of one sequence.
    associatedtype Cache: AnyObject

    /// Length of a row of logits.
    var vocabulary: Int { get }
    /// Longest sequence in tokens.
    var context: Int { get }

    /// - Parameter capacity: most positions that will be computed.
    func makeCache(capacity: Int) throws(RouterFailure) -> Cache

    /// Memory that such a cache takes once all its positions are computed, in bytes.
    func cacheBytes(capacity: Int) -> Int

    /// The same when only the first `computed` are.
    func bytes(of cache: Cache, computed: Int) -> Int

    /// Gives a new cache the first `count` positions of another, whose sequence begins with the same tokens.
    func copy(_ count: Int, from: Cache, to: Cache)

    /// Computes the rows; those of one sequence come in ascending position, right behind what it has computed.
    /// After a failure the same rows may be given again.
    /// - Parameter between: called between two parts of the pass. It may call `forward` for other rows and use their results at
    ///   once; this pass then goes on as if it had not.
    func forward(_ rows: [StepRow<Cache>], tracing: Bool, between: () -> Void) throws(RouterFailure)

    /// Why a row of the last `forward` could not be computed, if so; its sequence cannot go on.
    func failure(row: Int) -> RouterFailure?

    /// What the experts of a row of the last `forward` have cost, also if that failed.
    func cost(row: Int) -> SequenceCost

    /// Logits (vocabulary,) of a row of the last `forward` that wanted them; valid until the next one.
    func logits(row: Int) -> UnsafeBufferPointer<Float>

    /// Gates of a row of the last `forward`, if that traced.
    func gates(row: Int) -> GateTrace

    /// What has been waited for experts since the beginning, in all.
    var waited: StartCost { get }

    /// Whether the experts that rows call are kept, for `routes`.
    func record(_ on: Bool)

    /// Experts called by the last `forward` while recording: rows × MoE layers × experts per token, best first.
    func routes() -> [UInt16]

    /// Lets go of experts whose instances left. Between steps.
    func dropRevoked()

    /// Gives memory back that steps have used. When no sequence is under way.
    func trim()
}

extension SequenceModel {
    func cacheBytes(capacity: Int) -> Int { 0 }
    func bytes(of cache: Cache, computed: Int) -> Int { 0 }
    func failure(row: Int) -> RouterFailure? { nil }
    func cost(row: Int) -> SequenceCost { SequenceCost() }
    var waited: StartCost { StartCost() }
    func record(_ on: Bool) {}
    func routes() -> [UInt16] { [] }
}

// The forward pass of a Mixture-of-Experts transformer on the router's side: embedding, attention,
// gating, shared expert and output; the experts are applied by a dispatcher.
//
// A row's arithmetic never depends on the other rows of the batch, on the number of threads or on where the
// experts live: matrix products are one chain per output (see CKernels.h), attention reads K and V as stored,
// the fresh rows' too, and a row's experts are summed onto the residual stream in rank order.
import Kernels
import Shard
import Syscall
import Wire

/// A router's model, ready to compute.
final class Engine {
    /// Most rows of a batch.
    static let mostRows = RouterConfig.batchRows

    let config: RouterConfig
    let weights: RouterWeights
    let pool: ComputePool
    let dispatcher: any ExpertDispatcher
    let space: Workspace
    /// Keep which experts are called, for `routes`.
    var isRecording = false
    /// A batch stands between two layers.
    private var isPaused = false

    /// - Parameter shard: a router's, checked; its mapping outlives the engine.
    init(
        shard: ShardView, config: RouterConfig, pool: ComputePool, dispatcher: any ExpertDispatcher
    ) throws(EngineError) {
        (self.config, self.pool, self.dispatcher) = (config, pool, dispatcher)
        do throws(ShardError) {
            weights = try RouterWeights(shard, config)
        } catch {
            throw EngineError("bad_shard", "the router's shard: \(error)")
        }
        do throws(SyscallError) {
            space = try Workspace(config, weights, threads: pool.count)
        } catch {
            throw EngineError("no_memory", "the router's working memory: \(error)")
        }
    }

    /// Room for one sequence's keys and values.
    /// - Parameter capacity: most positions; the model's context when left out.
    func makeCache(capacity: Int? = nil) throws(EngineError) -> KVCache {
        do throws(SyscallError) {
            return try KVCache(
                format: weights.kv, layers: config.layers, heads: config.kvHeads, headDim: config.headDim,
                capacity: min(capacity ?? config.context, config.context))
        } catch {
            throw EngineError("no_memory", "memory for a sequence: \(error)")
        }
    }

    /// Bytes of such a cache once all its positions are computed.
    func cacheBytes(capacity: Int) -> Int {
        KVCache.bytes(
            format: weights.kv, layers: config.layers, heads: config.kvHeads, headDim: config.headDim,
            capacity: min(capacity, config.context))
    }

    /// Logits (vocabulary,) of a row of the last `forward` that wanted them, valid until the next one.
    func logits(row: Int) -> UnsafeBufferPointer<Float> {
        precondition(
            row >= 0 && row < space.batch.rows && space.batch.logitRow[row] >= 0, "row \(row) wanted no logits")
        let start = space.logits.row(space.batch.logitRow[row])
        return UnsafeBufferPointer(start: start, count: config.vocabulary)
    }

    /// Computes a batch of at most `mostRows` rows; those of one sequence come in ascending position, each
    /// sequence continuing right behind what its cache holds. After a failure the same rows may be given again.
    /// A row whose expert cannot be had does not fail the batch: see `failure(row:)`.
    /// - Parameters:
    ///   - tracing: keep what the gates decide, for `gates(row:)`.
    ///   - between: called between two layers. It may compute other rows by `forward` and use their results at once.
    func forward(_ batch: [BatchRow], tracing: Bool = false, between: () -> Void = {}) throws(EngineError) {
        let isInner = isPaused
        if isInner { space.setAside() }
        try space.load(batch, config)
        if tracing { space.batch.traces = Array(repeating: GateTrace(), count: batch.count) }
        embed()
        rotate()
        for layer in 0..<config.layers {
            if layer > 0, !isInner { pause(between) }
            attention(layer)
            switch weights.layers[layer].feedForward {
            case .dense(let network): dense(layer, network)
            case .experts(let block): try experts(layer, block)
            }
        }
        output()
    }

    /// Whatever is computed between two layers, all that a batch needs to go on is its residual stream.
    private func pause(_ between: () -> Void) {
        isPaused = true
        between()
        isPaused = false
        if space.bringBack() { rotate() }
    }

    /// Why a row of the last `forward` has no result, if it has none; the other rows' are right.
    func failure(row: Int) -> EngineError? { space.batch.failures[row] }

    /// What the experts of a row of the last `forward` have cost, also if that failed.
    func cost(row: Int) -> SequenceCost {
        space.batch.costs.indices.contains(row) ? space.batch.costs[row] : SequenceCost()
    }

    /// What has been waited for experts since the beginning, in all.
    var waited: StartCost { dispatcher.waited }

    /// What the gates decided for a row of the last `forward`, if that traced.
    func gates(row: Int) -> GateTrace {
        space.batch.traces.indices.contains(row) ? space.batch.traces[row] : GateTrace()
    }

    /// Keeps the experts that the rows of the batch have chosen in this layer.
    func recordChoice() {
        guard isRecording else { return }
        for slot in 0..<space.batch.rows * config.expertsPerToken {
            space.batch.recorded.append(UInt16(clamping: space.chosen[slot]))
        }
    }

    /// Experts of the last `forward`, if recorded: (rows, MoE layers, k).
    func routes() -> [UInt16] {
        let (rows, k, recorded) = (space.batch.rows, config.expertsPerToken, space.batch.recorded)
        guard rows * k > 0 else { return [] }
        let layers = recorded.count / (rows * k)
        var routes: [UInt16] = []
        routes.reserveCapacity(recorded.count)
        for row in 0..<rows {
            for layer in 0..<layers { routes += recorded[(layer * rows + row) * k..<(layer * rows + row + 1) * k] }
        }
        return routes
    }

    /// Lets go of functions whose instances left. Between steps, after the connection was polled.
    func dropRevoked() { dispatcher.dropRevoked() }

    /// Gives the pages of large batches back. When no sequence is under way.
    func trim() {
        space.trim()
        dispatcher.trim()
    }
}

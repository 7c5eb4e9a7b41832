// What a budget means for speed: who stays in memory, what has to be read for a token, how long that takes beside
// computing. Without a recording every expert counts as likely as any other, which is the worst case; real models repeat
// themselves, and a recording (`locum trace record`) shows how much.
import FunctionModel
import Scheduler

/// A model on a host.
struct SpeedModel {
    let manifest: ImportManifest
    let lanes: Int
    /// Bytes of weights per second that all cores compute with together.
    let computeBytesPerSecond: Double
    let diskBytesPerSecond: Double
    /// Of this model, with a function per expert.
    let trace: AccessTrace?
    /// Half of the recording fills the memory, the other half counts: a plan speaks of a model that runs.
    private var warmup: Int { (trace?.rows.count { !$0.isPrompt } ?? 0) / 2 }

    /// What a call costs beside its weights, by the profile in BENCHMARKS.md: to a lane and back.
    private static let callSeconds = 14e-6
    /// A layer's attention, gate, joins.
    private static let layerSeconds = 35e-6
    /// Of a token's time, what goes into products with weights; the rest is waiting for the slower core, attention,
    /// sampling (perf of the 6-layer model in BENCHMARKS.md: 82 %).
    private static let kernelShare = 0.82
    private static let readLatency = 150e-6
    /// A process from its order until it can be called, with its link, on one core.
    private static let spawnSeconds = 1.2e-3

    struct Prediction {
        var fits: Bool
        var residentFraction: Double
        var tokensPerSecond: Double
        /// What the disk's speed alone, or the computing alone, would allow with perfect foresight.
        var boundTokensPerSecond: Double
        var bound: String
        var firstTokenSeconds: Double
    }

    private var experts: [ImportManifest.Function] { Array(manifest.functions.dropFirst()) }
    private var expertBytes: Int { experts.reduce(0) { $0 + MemoryCost.pages($1.bytes) } }
    private var moeLayers: Int { max(1, Set(experts.map { FunctionLayer.first(of: $0.name) }).count) }
    private var routerBytes: Int { manifest.functions.first?.bytes ?? 0 }
    /// Functions that a token calls in one layer.
    private var calls: Int { manifest.memoryShape(lanes: lanes).functionsPerLayer }
    private var meanFunction: Double { Double(expertBytes) / Double(max(1, experts.count)) }

    var minimumBytes: Int { MemoryCost.minimum(manifest.memoryShape(lanes: lanes)) }

    /// Weights that one token reads: the router's but for the embedding, of which it reads a row, and k experts a layer.
    private var computeSeconds: Double {
        let perExpert = Double(expertBytes) / Double(max(1, manifest.experts * moeLayers))
        let read =
            Double(routerBytes) * Self.readShareOfRouter + Double(manifest.expertsPerToken * moeLayers) * perExpert
        let overhead = Self.layerSeconds + Self.callSeconds * Double((calls + lanes - 1) / lanes)
        return read / computeBytesPerSecond / Self.kernelShare + overhead * Double(moeLayers)
    }

    /// About half of a router is the embedding, where it is as large as the output matrix; known better from the shapes
    /// only when the import says so.
    private static let readShareOfRouter = 0.75

    func predict(_ budget: Int) -> Prediction {
        let fixed = MemoryCost.fixed(
            routerShard: routerBytes, routerOverhead: manifest.routerOverhead,
            sequences: manifest.sequenceBytesPerToken * min(manifest.context, MemoryCost.typicalSequence),
            functions: 0, lanes: lanes)
        // Processes stay before shards do, but for a sixth (as node decides).
        let processes = min(experts.count * MemoryCost.worker(lanes: lanes), max(0, budget - fixed) * 5 / 6)
        let room = max(0, budget - fixed - processes)
        // A shard without a process is not in memory either, and costs a start besides.
        let started = Double(processes) / Double(max(1, experts.count * MemoryCost.worker(lanes: lanes)))
        let fraction = min(started, 1, Double(room) / Double(max(1, expertBytes)))
        let starting = Double(calls) * (1 - started) * Self.spawnSeconds
        let compute = computeSeconds
        var (token, bound, byDisk) = (compute, compute, false)
        if fraction < 1 {
            if let trace, let run = try? Replay.run(trace, policy: .locum, shardBudget: room, warmup: warmup),
                let best = try? Replay.run(trace, policy: .belady, shardBudget: room, warmup: warmup)
            {
                token = run.predictedSecondsPerToken(
                    computeSecondsPerToken: compute, diskBytesPerSecond: diskBytesPerSecond, latency: Self.readLatency)
                token += starting * Double(moeLayers)
                let read = Double(best.bytesRead) / Double(max(1, best.tokens)) / diskBytesPerSecond
                (bound, byDisk) = (max(compute, read), read > compute)
            } else {
                let missed = Double(calls) * (1 - fraction)
                let read = missed * meanFunction / diskBytesPerSecond + Self.readLatency * (missed / 2).rounded(.up)
                let layer = compute / Double(moeLayers)
                token = Double(moeLayers) * (layer / 2 + max(layer / 2, read) + starting)
                let least = Double(moeLayers) * missed * meanFunction / diskBytesPerSecond
                (bound, byDisk) = (max(compute, least), least > compute)
            }
        }
        return Prediction(
            fits: budget >= minimumBytes, residentFraction: fraction, tokensPerSecond: 1 / token,
            boundTokensPerSecond: 1 / bound, bound: byDisk ? "disk" : "compute",
            firstTokenSeconds: firstToken(room: room))
    }

    /// From nothing: the router is read, then what a prompt of 16 tokens calls, which is most of what there is.
    private func firstToken(room: Int) -> Double {
        let share = Double(manifest.expertsPerToken) / Double(max(1, manifest.experts))
        var untouched = 1.0
        for _ in 0..<16 { untouched *= 1 - share }
        let called = Double(experts.count) * (1 - untouched)
        let read = (Double(routerBytes) + called * meanFunction) / diskBytesPerSecond
        return read + called * Self.spawnSeconds / Double(max(1, lanes)) + 16 * computeSeconds / 4
    }
}

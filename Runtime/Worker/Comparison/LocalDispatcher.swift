// Experts applied in the router's own threads: what a router without processes would do. Tests judge the engine with it,
// and `locum-bench isolation` compares; no worker uses it.
import Shard
import Syscall
import Wire

/// Applies experts of mapped shards, pairs dealt out to the compute threads.
final class LocalDispatcher: ExpertDispatcher {
    let mostRows: Int
    private let experts: [ExpertModel]
    private let config: RouterConfig
    private let threads: Int
    private let owner: AnyObject
    private var scratch: [[ExpertScratch]] = []
    private var work: ExpertWork?
    private let memory: Mapping
    private let results: UnsafeMutablePointer<UnsafePointer<Float>?>

    /// - Parameters:
    ///   - experts: by function, as `config.functions` counts them.
    ///   - owner: of what the experts are in.
    ///   - mostRows: small, to have layers cut into several works.
    init(
        _ experts: [ExpertModel], _ config: RouterConfig, owner: AnyObject, threads: Int,
        mostRows: Int = Engine.mostRows
    ) throws(SyscallError) {
        (self.experts, self.config, self.threads, self.mostRows) = (experts, config, threads, mostRows)
        self.owner = owner
        for _ in 0..<threads {
            var each: [ExpertScratch] = []
            for model in experts { each.append(try ExpertScratch(model)) }
            scratch.append(each)
        }
        let slots = mostRows * config.expertsPerToken
        memory = try Mapping(anonymous: slots * config.hidden * 4)
        results = .allocate(capacity: slots)
        results.initialize(repeating: nil, count: slots)
    }

    deinit { results.deallocate() }

    var outputs: UnsafePointer<UnsafePointer<Float>?> { UnsafePointer(results) }
    let failures: [Int: EngineError] = [:]
    let waited = StartCost()
    func plan(_ work: ExpertWork) { self.work = work }
    func send(thread: Int) {}
    func dropRevoked() {}
    func trim() {}
    let readsShards = false
    /// Guessed for every layer, so that guessing is seen to change nothing.
    var wantsHints = true
    private(set) var hints: [(layer: Int, experts: [Int32])] = []
    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>) { hints.append((layer, Array(experts))) }
    func settle() -> Bool { true }

    func receive(thread: Int) {
        guard let work else { return }
        let width = config.hidden
        for slot in stride(from: thread, to: work.pairs, by: threads) {
            let place = config.functions.places[work.layer * config.expertCount + Int(work.experts[slot])]
            let output = memory.base.assumingMemoryBound(to: Float.self) + slot * width
            let input = UnsafeRawPointer?.some(UnsafeRawPointer(work.hidden + slot / work.perRow * work.stride))
            let expert = experts[place.function].experts[place.local]
            withUnsafePointer(to: input) { input in
                withUnsafePointer(to: UnsafeMutablePointer<Float>?.some(output)) { output in
                    scratch[thread][place.function].apply(expert, inputs: input, outputs: output, count: 1)
                }
            }
            results[slot] = UnsafePointer(output)
        }
    }
}

// Experts applied in the router's own threads, so that the engine is judged before any process exists.
import Shard
import Syscall
import Wire

@testable import Worker

final class LocalDispatcher: ExpertDispatcher {
    let mostRows: Int
    private let model: NanoModel
    private let threads: Int
    private var scratch: [[ExpertScratch]] = []
    private var work: ExpertWork?
    private let memory: Mapping
    private let results: UnsafeMutablePointer<UnsafePointer<Float>?>

    /// - Parameter mostRows: small, to have layers cut into several works.
    init(_ model: NanoModel, threads: Int, mostRows: Int = Engine.mostRows) throws {
        (self.model, self.threads, self.mostRows) = (model, threads, mostRows)
        for _ in 0..<threads { scratch.append(try model.experts.map { try ExpertScratch($0) }) }
        let slots = mostRows * model.config.expertsPerToken
        memory = try Mapping(anonymous: slots * model.config.hidden * 4)
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
    /// Guessed for every layer, so that guessing is seen to change nothing.
    let wantsHints = true
    private(set) var hints: [(layer: Int, experts: [Int32])] = []
    func hint(layer: Int, experts: UnsafeBufferPointer<Int32>) { hints.append((layer, Array(experts))) }
    func settle() -> Bool { true }

    func receive(thread: Int) {
        guard let work else { return }
        let (config, width) = (model.config, model.config.hidden)
        for slot in stride(from: thread, to: work.pairs, by: threads) {
            let place = config.functions.places[work.layer * config.expertCount + Int(work.experts[slot])]
            let output = memory.base.assumingMemoryBound(to: Float.self) + slot * width
            let input = UnsafeRawPointer?.some(UnsafeRawPointer(work.hidden + slot / work.perRow * work.stride))
            let expert = model.experts[place.function].experts[place.local]
            withUnsafePointer(to: input) { input in
                withUnsafePointer(to: UnsafeMutablePointer<Float>?.some(output)) { output in
                    scratch[thread][place.function].apply(expert, inputs: input, outputs: output, count: 1)
                }
            }
            results[slot] = UnsafePointer(output)
        }
    }
}

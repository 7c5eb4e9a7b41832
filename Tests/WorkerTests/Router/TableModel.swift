// A model without weights: its logits are random numbers keyed by the whole sequence so far, so that any slip in
// order, position or replay shows in the tokens. It checks the rules that batches have to keep.
import Testing
import Wire

@testable import Worker

final class TableModel: SequenceModel {
    final class Cache {
        let capacity: Int
        var tokens: [Int32] = []
        init(capacity: Int) { self.capacity = capacity }
    }

    let vocabulary: Int
    let context: Int
    /// Rows of each step so far.
    var steps: [Int] = []
    /// Thrown by the next step.
    var failure: RouterFailure?
    /// Overrides logits, by tokens so far.
    var script: (([Int32]) -> Int32?)?
    var costOfRow = SequenceCost()
    /// What a position's keys and values take.
    var bytesPerToken = 0
    /// Happens in the middle of each step.
    var meanwhile: () -> Void = {}
    /// Happens when what was computed in the middle of a step has been.
    var afterInner: () -> Void = {}
    private(set) var dropped = 0
    private(set) var trims = 0
    private var results: [[Float]?] = []
    private var traced: [GateTrace] = []
    private var isInner = false

    init(vocabulary: Int, context: Int) { (self.vocabulary, self.context) = (vocabulary, context) }

    func makeCache(capacity: Int) throws(RouterFailure) -> Cache { Cache(capacity: capacity) }
    func cacheBytes(capacity: Int) -> Int { capacity * bytesPerToken }
    func bytes(of cache: Cache, computed: Int) -> Int { computed * bytesPerToken }

    func copy(_ count: Int, from: Cache, to: Cache) {
        #expect(to.tokens.isEmpty && count <= from.tokens.count)
        to.tokens = Array(from.tokens.prefix(count))
    }

    func forward(_ rows: [StepRow<Cache>], tracing: Bool, between: () -> Void) throws(RouterFailure) {
        if !isInner {
            isInner = true
            meanwhile()
            let count = steps.count
            between()
            if steps.count > count { afterInner() }
            isInner = false
        }
        if let failure {
            self.failure = nil
            throw failure
        }
        #expect(!rows.isEmpty && rows.count <= 256)
        steps.append(rows.count)
        results = []
        traced = []
        for row in rows {
            #expect(row.position == row.cache.tokens.count, "rows of a sequence come one behind another")
            #expect(row.position < row.cache.capacity)
            row.cache.tokens.append(row.token)
            results.append(row.wantsLogits ? logits(after: row.cache.tokens) : nil)
            traced.append(
                tracing
                    ? GateTrace(router: [[Float(row.token), 1]], experts: [[row.token % 2]], weights: [[0.5]])
                    : GateTrace())
        }
    }

    func cost(row: Int) -> SequenceCost { costOfRow }

    func logits(after tokens: [Int32]) -> [Float] {
        if let token = script?(tokens) { return (0..<vocabulary).map { $0 == Int(token) ? 9 : 0 } }
        var state: UInt64 = 1469_5981_0393_4665_6037 % (1 << 63)
        for token in tokens { state = (state ^ UInt64(UInt32(bitPattern: token))) &* 0x100_0000_01B3 }
        return (0..<vocabulary).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) * 0x1p-22 - 2
        }
    }

    func logits(row: Int) -> UnsafeBufferPointer<Float> {
        // Kept by `results` until the next step.
        kept = UnsafeMutableBufferPointer<Float>.allocate(capacity: vocabulary)
        _ = kept.initialize(fromContentsOf: results[row] ?? [])
        #expect(results[row] != nil, "row \(row) wanted no logits")
        return UnsafeBufferPointer(kept)
    }

    private var kept = UnsafeMutableBufferPointer<Float>.allocate(capacity: 0) {
        willSet { kept.deallocate() }
    }

    deinit { kept.deallocate() }

    func gates(row: Int) -> GateTrace { traced[row] }
    func dropRevoked() { dropped += 1 }
    func trim() { trims += 1 }
}

final class CountingMeter: UsageMeter {
    var active = 0
    var touches = 0
    var ended = 0
    func begin() { active += 1 }
    func touch() { touches += 1 }
    func end(rows: Int) {
        active -= 1
        ended += 1
    }
}

// The calls that wait at a lane at the same time, computed together: their pairs are chained by expert, so that
// each expert's weights are read once for all callers.
import CLinux
import Link
import Syscall

/// One lane's collected calls.
final class ExpertBatch {
    /// Most calls collected at once, and events of one wait.
    static let mostCalls = 32

    private let model: ExpertModel
    private let scratch: ExpertScratch
    private let memory: Mapping
    /// Rows of one expert that are computed together.
    private let inputs: UnsafeMutablePointer<UnsafeRawPointer?>
    private let outputs: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    /// Each expert's first pair.
    private let firsts: UnsafeMutablePointer<UInt32>
    /// In the order of arrival.
    private let arrived: UnsafeMutablePointer<Pair>
    private(set) var pairs = 0
    /// The first pair while it is the only one, so that a decode step of one sequence touches no table.
    private var only = Pair(input: nil, output: nil, expert: 0)

    /// A pair as read from the arenas, once.
    private struct Pair {
        let input: UnsafeRawPointer?
        let output: UnsafeMutablePointer<Float>?
        let expert: UInt32
        /// The same expert's next pair.
        var next = ExpertBatch.none
    }

    private static let none = UInt32.max
    /// Pairs that fit: one largest call may arrive when the batch is just below another.
    private static let capacity = 2 * ExpertCall.mostPairs

    init(_ model: ExpertModel) throws(SyscallError) {
        self.model = model
        scratch = try ExpertScratch(model)
        let (rows, pointer) = (ExpertScratch.blockRows, MemoryLayout<UnsafeRawPointer?>.stride)
        let heads = (model.experts.count * MemoryLayout<UInt32>.stride + 63) / 64 * 64
        // One behind the other, so that a small batch touches a page.
        memory = try Mapping(
            anonymous: 2 * rows * pointer + heads + Self.capacity * MemoryLayout<Pair>.stride)
        inputs = memory.base.assumingMemoryBound(to: UnsafeRawPointer?.self)
        outputs = UnsafeMutableRawPointer(inputs + rows).assumingMemoryBound(to: UnsafeMutablePointer<Float>?.self)
        firsts = UnsafeMutableRawPointer(outputs + rows).assumingMemoryBound(to: UInt32.self)
        arrived = (UnsafeMutableRawPointer(firsts) + heads).assumingMemoryBound(to: Pair.self)
    }

    /// Whether one more call of any size fits.
    var hasRoom: Bool { pairs <= Self.capacity - ExpertCall.mostPairs }

    /// Takes a call's pairs on. False, and none is taken, when one names a row or expert that is not there.
    func add(_ call: LaneCall) -> Bool {
        let row = model.width * 4
        if pairs == 1 { arrived[0] = only }
        for index in 0..<call.pairs {
            let pair = call.pair(index)
            guard Int(pair.row) < call.rows, Int(pair.expert) < model.experts.count else { return false }
            let read = Pair(
                input: call.input + Int(pair.row) * row,
                output: (call.output + index * row).assumingMemoryBound(to: Float.self), expert: pair.expert)
            if pairs == 0, call.pairs == 1 { only = read } else { arrived[pairs + index] = read }
        }
        pairs += call.pairs
        return true
    }

    /// Lets go of the pairs taken on.
    func forget() { pairs = 0 }

    /// Computes all pairs taken on.
    func compute() {
        if pairs == 1 {
            withUnsafePointer(to: only.input) { input in
                withUnsafePointer(to: only.output) { output in
                    scratch.apply(model.experts[Int(only.expert)], inputs: input, outputs: output, count: 1)
                }
            }
        } else if pairs > 1 {
            chain()
            for (index, expert) in model.experts.enumerated() {
                var pair = firsts[index]
                while pair != Self.none {
                    var count = 0
                    while pair != Self.none, count < ExpertScratch.blockRows {
                        let read = arrived[Int(pair)]
                        (inputs[count], outputs[count], pair) = (read.input, read.output, read.next)
                        count += 1
                    }
                    scratch.apply(expert, inputs: inputs, outputs: outputs, count: count)
                }
            }
        }
        if pairs > 512 { memory.discard(from: 0) }
        scratch.trim()
        pairs = 0
    }

    /// Links each expert's pairs, in the order of arrival.
    private func chain() {
        firsts.update(repeating: Self.none, count: model.experts.count)
        for pair in (0..<pairs).reversed() {
            let expert = Int(arrived[pair].expert)
            arrived[pair].next = firsts[expert]
            firsts[expert] = UInt32(pair)
        }
    }
}

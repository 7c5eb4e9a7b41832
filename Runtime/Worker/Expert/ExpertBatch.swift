// The calls that wait at a lane at the same time, computed together: their pairs are sorted by expert, so that
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
    /// In the order of arrival.
    private let arrived: UnsafeMutablePointer<Pair>
    /// Sorted by expert.
    private let inputs: UnsafeMutablePointer<UnsafeRawPointer?>
    private let outputs: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    /// Pairs of each expert, then where the next one goes.
    private let counts: UnsafeMutablePointer<UInt32>
    private(set) var pairs = 0
    /// The first pair while it is the only one, so that a decode step of one sequence touches no table.
    private var only = Pair(input: nil, output: nil, expert: 0)

    /// A pair as read from the arenas, once.
    private struct Pair {
        let input: UnsafeRawPointer?
        let output: UnsafeMutablePointer<Float>?
        let expert: Int
    }

    /// Pairs that fit: one largest call may arrive when the batch is just below another.
    private static let capacity = 2 * ExpertCall.mostPairs

    init(_ model: ExpertModel) throws(SyscallError) {
        self.model = model
        scratch = try ExpertScratch(model)
        let n = Self.capacity
        let size = MemoryLayout<Pair>.stride + 2 * MemoryLayout<UnsafeRawPointer?>.stride
        memory = try Mapping(anonymous: n * size + 4 * model.experts.count)
        arrived = memory.base.assumingMemoryBound(to: Pair.self)
        inputs = UnsafeMutableRawPointer(arrived + n).assumingMemoryBound(to: UnsafeRawPointer?.self)
        outputs = UnsafeMutableRawPointer(inputs + n).assumingMemoryBound(to: UnsafeMutablePointer<Float>?.self)
        counts = UnsafeMutableRawPointer(outputs + n).assumingMemoryBound(to: UInt32.self)
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
                output: (call.output + index * row).assumingMemoryBound(to: Float.self), expert: Int(pair.expert))
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
                    scratch.apply(model.experts[only.expert], inputs: input, outputs: output, count: 1)
                }
            }
        } else if pairs > 1 {
            sort()
            var start = 0
            for (index, expert) in model.experts.enumerated() where Int(counts[index]) > start {
                // After sorting, counts[i] is where expert i ends.
                let end = Int(counts[index])
                scratch.apply(expert, inputs: inputs + start, outputs: outputs + start, count: end - start)
                start = end
            }
        }
        if pairs > 512 { memory.discard(from: 0) }
        scratch.trim()
        pairs = 0
    }

    private func sort() {
        let n = model.experts.count
        counts.update(repeating: 0, count: n)
        for pair in 0..<pairs { counts[arrived[pair].expert] += 1 }
        var sum: UInt32 = 0
        for expert in 0..<n {
            let count = counts[expert]
            counts[expert] = sum
            sum += count
        }
        for index in 0..<pairs {
            let pair = arrived[index]
            let place = Int(counts[pair.expert])
            counts[pair.expert] += 1
            inputs[place] = pair.input
            outputs[place] = pair.output
        }
    }
}

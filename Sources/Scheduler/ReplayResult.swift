// What a replay counts, and what speed that means. Calls of a prompt's steps and of a warm-up are counted apart: they
// read nearly everything once, whatever the policy.

/// What one layer of one step had to read before it could end.
public struct LayerRead: Sendable, Hashable {
    public var functions: Int
    public var bytes: Int
}

public struct ReplayResult: Sendable, Equatable {
    /// Layers with experts of a token, and reads under way at once.
    public let layers: Int
    public let loadsAtOnce: Int
    /// Rows that were generated after the warm-up.
    public internal(set) var tokens = 0
    /// Steps' layers with generated rows: functions that were resident, and that were not.
    public private(set) var hits = 0
    public private(set) var misses = 0
    public private(set) var bytesRead = 0
    /// The same of the warm-up, and of steps with rows of prompts only.
    public private(set) var promptHits = 0
    public private(set) var promptMisses = 0
    public private(set) var promptBytesRead = 0
    public internal(set) var evictions = 0
    /// How often a layer with generated rows had this to read.
    public private(set) var reads: [LayerRead: Int] = [:]

    init(layers: Int, loadsAtOnce: Int) { (self.layers, self.loadsAtOnce) = (layers, loadsAtOnce) }

    /// Share of the calls in generation that found their function resident; 1 when there were none.
    public var hitRate: Double { hits + misses == 0 ? 1 : Double(hits) / Double(hits + misses) }

    mutating func count(_ calls: Int, _ read: LayerRead, isDecode: Bool) {
        if isDecode {
            hits += calls - read.functions
            misses += read.functions
            bytesRead += read.bytes
            reads[read, default: 0] += 1
        } else {
            promptHits += calls - read.functions
            promptMisses += read.functions
            promptBytesRead += read.bytes
        }
    }

    /// Seconds that a token takes, on the mean.
    ///
    /// A layer's compute is c = computeSecondsPerToken / layers. A share `overlap` of it (resident and shared experts)
    /// can go on while the missing experts are read, the rest (attention, the gate that names them) cannot:
    ///
    ///     layer = (1 - overlap) * c + max(overlap * c, read)
    ///     read  = latency * ceil(functions / loadsAtOnce) + bytes / diskBytesPerSecond
    ///
    /// A step of several sequences is taken to compute as long as a step of one; on few cores it takes longer.
    public func predictedSecondsPerToken(
        computeSecondsPerToken: Double, diskBytesPerSecond: Double, latency: Double = 100e-6, overlap: Double = 0.5
    ) -> Double {
        guard tokens > 0, layers > 0, diskBytesPerSecond > 0 else { return computeSecondsPerToken }
        let compute = computeSecondsPerToken / Double(layers)
        var total = 0.0
        for (read, times) in reads.sorted(by: { ($0.key.functions, $0.key.bytes) < ($1.key.functions, $1.key.bytes) }) {
            let waves = (read.functions + loadsAtOnce - 1) / loadsAtOnce
            let seconds = latency * Double(waves) + Double(read.bytes) / diskBytesPerSecond
            total += Double(times) * ((1 - overlap) * compute + max(overlap * compute, seconds))
        }
        return total / Double(tokens)
    }
}

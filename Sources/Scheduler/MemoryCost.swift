// What things cost in the memory budget beside shards, in bytes, reserved before they exist. The figures are upper
// bounds of what was measured (BENCHMARKS.md), so that the sum of reservations is never below what is used; tests
// hold them against /proc.

/// A model's shape as far as memory is concerned.
public struct MemoryShape: Sendable {
    /// Bytes of the router's shard.
    public var routerShard: Int
    /// Bytes of each expert function's shard, and the MoE layer (from 0) of its first expert.
    public var functions: [(bytes: Int, layer: Int)]
    /// Functions that one token calls in one layer, at most.
    public var functionsPerLayer: Int
    /// What the router process takes beside its shard and sequences.
    public var routerOverhead: Int
    /// Keys and values of one position, over all layers.
    public var sequenceBytesPerToken: Int
    /// Longest sequence in tokens.
    public var context: Int
    /// Threads of a worker.
    public var lanes: Int

    public init(
        routerShard: Int, functions: [(bytes: Int, layer: Int)], functionsPerLayer: Int, routerOverhead: Int,
        sequenceBytesPerToken: Int, context: Int, lanes: Int
    ) {
        (self.routerShard, self.functions, self.functionsPerLayer) = (routerShard, functions, functionsPerLayer)
        (self.routerOverhead, self.sequenceBytesPerToken) = (routerOverhead, sequenceBytesPerToken)
        (self.context, self.lanes) = (context, lanes)
    }
}

/// Upper bounds of memory beside shards.
public enum MemoryCost {
    /// All daemons together: node, zygote, control and `locum up`.
    public static let daemons = 72 << 20
    /// Never given out: what reservations are too coarse for.
    public static let margin = 8 << 20

    /// An expert's process: private pages, the arenas of one caller, and what the kernel keeps for it (about 130 KiB,
    /// and 25 per lane).
    public static func worker(lanes: Int) -> Int { (224 + 34 * lanes) << 10 }

    /// What sequences may never take from a router's experts: one layer's functions with their processes.
    public static func workingSet(_ shape: MemoryShape) -> Int {
        var largest = 0
        for (_, functions) in Dictionary(grouping: shape.functions, by: \.layer) {
            let top = functions.map(\.bytes).sorted(by: >).prefix(shape.functionsPerLayer)
            largest = max(largest, top.reduce(0, +) + top.count * worker(lanes: shape.lanes))
        }
        return largest
    }

    /// The smallest budget that serves a model alone: daemons, the router, one sequence of the whole context, one
    /// layer's functions.
    public static func minimum(_ shape: MemoryShape) -> Int {
        fixed(shape, sequences: shape.sequenceBytesPerToken * shape.context) + workingSet(shape)
    }

    /// How many functions a router may count on having room for together, whatever its sequences take; 0: all.
    /// - Parameter sequences: most at once.
    public static func functionsAtOnce(_ shape: MemoryShape, budget: Int, sequences: Int) -> Int {
        let largest = pages(shape.functions.map(\.bytes).max() ?? 0) + worker(lanes: shape.lanes)
        let taken = fixed(shape, sequences: sequences * shape.context * shape.sequenceBytesPerToken)
        let fit = max(0, budget - taken) / max(1, largest)
        return fit >= shape.functions.count ? 0 : max(shape.functionsPerLayer, fit)
    }

    private static func fixed(_ shape: MemoryShape, sequences: Int) -> Int {
        fixed(
            routerShard: shape.routerShard, routerOverhead: shape.routerOverhead, sequences: sequences, functions: 0,
            lanes: shape.lanes)
    }

    /// Tokens of the sequence that a prediction of speed reckons with.
    public static let typicalSequence = 1024

    /// What is in memory whatever the experts do, with a process for each function.
    public static func fixed(
        routerShard: Int, routerOverhead: Int, sequences: Int, functions: Int, lanes: Int
    ) -> Int {
        daemons + margin + pages(routerShard) + routerOverhead + sequences + functions * worker(lanes: lanes)
    }

    /// A shard takes whole pages.
    public static func pages(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }
}

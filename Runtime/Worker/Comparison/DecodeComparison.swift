// What a process per expert costs: one engine calls the functions of a running Locum, another computes the same experts
// from the same files in its own threads, both over one pool of threads and in turns, so that both see the same machine.
import CLinux
import Glibc
import Kernels
import Link
import Shard
import Syscall

/// Two engines of one deployed model, for `locum-bench isolation`.
package final class DecodeComparison {
    /// A function's name and its shard's file.
    package struct Function {
        let name: String
        let path: String
        package init(name: String, path: String) { (self.name, self.path) = (name, path) }
    }

    /// Nanoseconds per token, each the sum of its parts over all layers.
    package struct Figures {
        /// The whole token.
        package var token: UInt64 = 0
        /// See `TimedDispatcher`.
        package var (planning, receiving, imbalance): (UInt64, UInt64, UInt64) = (0, 0, 0)
    }

    /// Why there is nothing to compare.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private struct Side {
        let engine: Engine
        let timer: TimedDispatcher
        let cache: KVCache
    }

    private let processes: Side
    private let alone: Side
    private let config: RouterConfig

    /// - Parameters:
    ///   - socket: node's invoke.sock.
    ///   - functions: the router first, then the experts in the order of the manifest.
    ///   - positions: most tokens of a run.
    package init(socket: String, _ functions: [Function], cpus: [UInt32], positions: Int) throws {
        Kernels.initialize()
        var mappings: [Mapping] = []
        var views: [ShardView] = []
        for function in functions {
            let file = open(function.path, O_RDONLY | O_CLOEXEC)
            try check(file, "open \(function.path)")
            let descriptor = Descriptor(owning: file)
            var info = stat()
            try check(fstat(file, &info), "look at \(function.path)")
            let mapping = try Mapping(descriptor.raw, count: Int(info.st_size), writable: false)
            try check(madvise(mapping.base, mapping.count, MADV_POPULATE_READ), "read \(function.path)")
            mappings.append(mapping)
            views.append(try ShardView(validating: UnsafeRawBufferPointer(start: mapping.base, count: mapping.count)))
        }
        guard let router = views.first else { throw Failure(description: "no functions were named") }
        final class Shards {
            let mappings: [Mapping]
            init(_ mappings: [Mapping]) { self.mappings = mappings }
        }
        let shards = Shards(mappings)
        let config = try router.routerConfig()
        self.config = config
        let pool = try ComputePool(cpus: cpus)
        func side(_ dispatcher: any ExpertDispatcher) throws -> Side {
            let timer = TimedDispatcher(dispatcher, threads: pool.count)
            let engine = try Engine(shard: router, config: config, pool: pool, dispatcher: timer)
            return Side(engine: engine, timer: timer, cache: try engine.makeCache(capacity: positions))
        }
        let connection = try InvokeConnection(path: socket, callees: functions.dropFirst().map(\.name))
        processes = try side(
            LinkDispatcher(connection: connection, config: config, threads: pool.count))
        let local = try LocalDispatcher(
            try views.dropFirst().map { try ExpertModel($0) }, config, owner: shards, threads: pool.count)
        local.wantsHints = false
        alone = try side(local)
    }

    /// Greedy decode from a prompt of one token, in turns of `turn` tokens.
    /// - Returns: what each token took with processes and without.
    /// - Throws: also when the two do not say the same tokens.
    package func run(tokens: Int, turn: Int) throws -> [(processes: Figures, alone: Figures)] {
        var (taken, single): ([Figures], [Figures]) = ([], [])
        var (next, other) = (Int32(config.vocabulary / 2), Int32(config.vocabulary / 2))
        for start in stride(from: 0, to: tokens, by: turn) {
            let range = start..<min(tokens, start + turn)
            next = try decode(processes, next, range, &taken)
            other = try decode(alone, other, range, &single)
            guard next == other else {
                throw Failure(description: "token \(range.upperBound) is \(next) with processes, \(other) without")
            }
        }
        return Array(zip(taken, single))
    }

    private func decode(
        _ side: Side, _ first: Int32, _ range: Range<Int>, _ into: inout [Figures]
    ) throws(EngineError) -> Int32 {
        var token = first
        for position in range {
            side.timer.reset()
            let begin = locum_monotonic_ns()
            try side.engine.forward([
                BatchRow(token: token, position: position, cache: side.cache, wantsLogits: true)
            ])
            if let failure = side.engine.failure(row: 0) { throw failure }
            let time = locum_monotonic_ns() - begin
            let logits = side.engine.logits(row: 0)
            token = Int32(logits.indices.max { logits[$0] < logits[$1] } ?? 0)
            into.append(
                Figures(
                    token: time, planning: side.timer.planning, receiving: side.timer.receiving,
                    imbalance: side.timer.imbalance))
        }
        return token
    }
}

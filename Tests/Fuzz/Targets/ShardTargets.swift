// A shard as a worker meets it: mapped, written by an importer that may have been taken over.
import Kernels
import Shard
import Template
import Tokenizer
import Wire

@testable import Worker

extension FuzzTarget {
    /// The beginning of a shard. What its header says is missing is zero, up to a MiB, so that inputs stay short.
    static let shard = FuzzTarget("shard", longest: 24 << 10) { bytes in
        var bytes = bytes
        if bytes.count >= 64 {
            let stated = bytes[32..<40].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            if stated <= 1 << 20 { bytes += [UInt8](repeating: 0, count: max(0, Int(stated) - bytes.count)) }
        }
        withPages(bytes) { raw in
            precondition(ShardView.headerBytes(of: raw) > 0)
            do { try WorkerShard.open(raw) } catch { precondition(!"\(error)".isEmpty) }
        }
    }

    /// The beginning of a shard of an earlier layout, in a backup that may come from anyone.
    static let olderShard = FuzzTarget("older-shard", longest: 4096) { bytes in
        guard bytes.count >= 64 else { return }
        let stated = bytes[32..<40].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard let length = Int(exactly: stated) else { return }
        bytes.withUnsafeBytes { raw in
            guard let shard = try? OlderShard(header: raw, length: length) else { return }
            precondition(shard.entries.allSatisfy { $0.offset >= shard.headerBytes && $0.offset + $0.length <= length })
            guard let plan = try? shard.plan() else { return }
            precondition(plan.entries.count == shard.entries.count && plan.length > 0)
        }
    }

    /// The blob `config` of a router's shard.
    static let routerConfig = FuzzTarget("router-config", longest: 4096) { bytes in
        withPages(bytes) { raw in
            guard let config = try? RouterConfig(decoding: raw) else { return }
            precondition(config.encoded == bytes)
            precondition(config.routerOverhead > 0 && config.sequenceBytesPerToken > 0)
            for layer in 0..<config.layers { _ = config.place(layer: layer, expert: config.expertCount - 1) }
        }
    }
}

/// What a worker does with its shard before its first call, with a look at what it would then read.
enum WorkerShard {
    /// What was looked at; without it nothing would be.
    nonisolated(unsafe) private static var sum: UInt8 = 0

    static func open(_ bytes: UnsafeRawBufferPointer) throws {
        let shard = try ShardView(validating: bytes)
        for entry in shard.entries where entry.length > 0 {
            sum &+= bytes[entry.offset] &+ bytes[entry.offset + entry.length - 1]
        }
        guard shard.kind == .router else {
            for expert in try ExpertModel(shard).experts { touch(expert) }
            return
        }
        let config = try shard.routerConfig()
        let weights = try RouterWeights(shard, config)
        for layer in weights.layers {
            for matrix in [layer.q, layer.k, layer.v, layer.o] { touch(matrix) }
            if let network = layer.network { touch(network) }
        }
        touch(weights.output)
        guard let tables = shard.blob(.tokenizer) else { return }
        let reader = PromptReader(
            tokenizer: try Tokenizer(tables: tables), template: try shard.blob(.template).map(Template.init),
            config: config)
        let turns = [ChatTurn(role: "user", content: "<|im_end|> x")]
        for prompt in [Prompt.text("Don't, é <|im_end|>\n 12"), .chat(turns), .tokens([0, 1, -1])] {
            _ = try? reader.read(prompt)
        }
    }

    private static func touch(_ network: FeedForwardWeights) {
        for matrix in [network.gate, network.up, network.down] { touch(matrix) }
    }

    private static func touch(_ matrix: PackedMatrix) {
        guard let bytes = matrix.format.packedBytes(rows: matrix.rows, columns: matrix.columns) else { return }
        sum &+= matrix.base.load(as: UInt8.self) &+ matrix.base.load(fromByteOffset: bytes - 1, as: UInt8.self)
    }
}

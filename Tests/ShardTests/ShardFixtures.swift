// Small shards made in memory, at a page as a mapping would be.
import Kernels
import Shard

/// Bytes at a page boundary.
final class PageBytes {
    let buffer: UnsafeMutableRawBufferPointer

    init(_ bytes: [UInt8]) {
        buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 4096)
        buffer.copyBytes(from: bytes)
        count = bytes.count
    }

    private let count: Int
    var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]) }

    deinit { buffer.deallocate() }
}

/// A whole shard: header, then for each entry bytes that tell the entries apart.
func shardBytes(_ plan: ShardPlan, contents: [ShardRole: [UInt8]] = [:]) -> [UInt8] {
    var bytes = plan.header
    for (index, entry) in plan.entries.enumerated() {
        bytes += [UInt8](repeating: 0, count: entry.offset - bytes.count)
        bytes += contents[entry.role] ?? [UInt8](repeating: UInt8(truncatingIfNeeded: index + 1), count: entry.length)
    }
    return bytes + [UInt8](repeating: 0, count: plan.length - bytes.count)
}

/// Two experts of 64 -> 32 -> 64.
func expertPlan(count: Int = 2) throws -> ShardPlan {
    let contents = (0..<count).flatMap { expert in
        [
            ShardContent(.expertGate, expert: expert, format: .q8_0, rows: 32, cols: 64),
            ShardContent(.expertUp, expert: expert, format: .f16, rows: 32, cols: 64),
            ShardContent(.expertDown, expert: expert, format: .q4_0, rows: 64, cols: 32),
        ]
    }
    return try ShardPlan(kind: .expert(hidden: 64, intermediate: 32, count: count), contents: contents)
}

/// A model of two layers, the second without experts.
func sampleConfig() -> RouterConfig {
    RouterConfig(
        architecture: "qwen2moe", vocabulary: 100, hidden: 64, layers: 2, heads: 4, kvHeads: 2, headDim: 16,
        rotation: Rotation(frequencies: [1, 0.5, 0.25, 0.125, 0.1, 0.01, 0.001, 1e-9], scale: 1.25), rmsEpsilon: 1e-6,
        queryKeyNorm: .none, expertCount: 3, expertsPerToken: 2, normalizesTopK: true,
        sharedExpertIntermediate: 96, moeIntermediate: 32, denseIntermediate: 128, isMoE: [true, false], context: 512,
        kvType: .f16, eosTokens: [7, 9], bosToken: 5, bosText: "", eosText: "<|im_end|>",
        generation: GenerationDefaults(doSample: true, temperature: 0.8, topP: 0.95, topK: 20),
        functions: FunctionMap(
            count: 2,
            places: [.init(function: 0, local: 0), .init(function: 0, local: 1), .init(function: 1, local: 0)]))
}

/// The router shard of `sampleConfig`, with `edit` applied to the list of its tensors.
func routerBytes(_ config: RouterConfig = sampleConfig(), edit: (inout [ShardContent]) -> Void = { _ in }) throws
    -> [UInt8]
{
    var contents = [
        ShardContent(blob: .config, length: config.encoded.count), ShardContent(blob: .tokenizer, length: 5),
        ShardContent(.tokenEmbedding, format: .q8_0, rows: 100, cols: 64),
        ShardContent(.outputNorm, format: .f32, rows: 1, cols: 64),
        ShardContent(.output, format: .f32, rows: 100, cols: 64),
    ]
    for layer in 0..<2 {
        let shapes: [(ShardRole, Int, Int)] =
            [
                (.attentionNorm, 1, 64), (.q, 64, 64), (.k, 32, 64), (.v, 32, 64), (.o, 64, 64), (.qBias, 1, 64),
                (.kBias, 1, 32), (.vBias, 1, 32), (.ffnNorm, 1, 64),
            ]
            + (layer == 0
                ? [
                    (.gate, 3, 64), (.sharedExpertGate, 1, 64), (.sharedGate, 96, 64), (.sharedUp, 96, 64),
                    (.sharedDown, 64, 96),
                ] : [(.denseGate, 128, 64), (.denseUp, 128, 64), (.denseDown, 64, 128)])
        contents += shapes.map { ShardContent($0.0, layer: layer, format: .f32, rows: $0.1, cols: $0.2) }
    }
    edit(&contents)
    let plan = try ShardPlan(kind: .router, contents: contents)
    return shardBytes(plan, contents: [.config: config.encoded, .tokenizer: Array("token".utf8)])
}

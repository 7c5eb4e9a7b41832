// A Qwen2-MoE forward pass of one token at a time, in floats, as short as can be: enough to see what the gates of a
// generated file really choose. It shares nothing with the runtime but the kernels.
import Glibc
import Kernels

@testable import ModelImport

/// What one layer's gate saw and chose for one token.
struct GateChoice {
    /// The experts, best first.
    var experts: [Int]
    /// What the next layer's gate would choose for this layer's input.
    var foreseen: [Int]
    /// (experts,)
    var logits: [Float]
}

/// A model in memory and one sequence through it.
final class ForwardPass {
    private let layers, hidden, heads, kvHeads, topK: Int
    private var matrices: [String: [PackedMatrix]] = [:]
    /// First rows of tensors that were asked for: norms and biases.
    private var vectors: [String: [Float]] = [:]
    private var memory: [UnsafeMutableRawBufferPointer] = []
    private let caches: [(keys: UnsafeMutableRawPointer, values: UnsafeMutableRawPointer)]
    private let cacheStep: (keys: Int, values: Int)
    private var position = 0
    private var headDim: Int { hidden / heads }

    init(path: String, capacity: Int) throws {
        Kernels.initialize()
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        let file = try GGUFFile(SourceFile(ImportSource(name: "m.gguf", descriptor: descriptor)))
        func number(_ key: String) throws -> Int { try file.required(key, file.int("qwen2moe." + key)) }
        (layers, hidden) = (try number("block_count"), try number("embedding_length"))
        (heads, kvHeads) = (try number("attention.head_count"), try number("attention.head_count_kv"))
        topK = try number("expert_used_count")
        let rounded = (capacity + 63) / 64 * 64
        cacheStep = (
            KVFormat.f32.keyBytes(headDim: hidden / heads, capacity: rounded) ?? 0,
            KVFormat.f32.valueBytes(headDim: hidden / heads, capacity: rounded) ?? 0
        )
        let (step, count) = (cacheStep, kvHeads)
        let blocks = (0..<layers * 2).map { index in
            UnsafeMutableRawBufferPointer.allocate(
                byteCount: count * (index % 2 == 0 ? step.keys : step.values), alignment: 64)
        }
        caches = (0..<layers).compactMap { layer in
            guard let keys = blocks[layer * 2].baseAddress, let values = blocks[layer * 2 + 1].baseAddress else {
                return nil
            }
            return (keys, values)
        }
        memory = blocks
        try file.tensors.tensors.values.forEach(load)
        close(descriptor)
    }

    deinit { memory.forEach { $0.deallocate() } }

    /// Widens a tensor to f32; one matrix per expert.
    private func load(_ tensor: SourceTensor) throws {
        let columns = tensor.shape.last ?? 1
        let rows = tensor.shape.count == 1 ? 1 : tensor.shape[tensor.shape.count - 2]
        let raw = try tensor.file.bytes(at: tensor.offset, count: tensor.length, what: tensor.name)
        let rowBytes = tensor.format.rowBytes(columns: columns) ?? 0
        let size = WeightFormat.f32.packedBytes(rows: rows, columns: columns) ?? 0
        let scratch = UnsafeMutablePointer<Float>.allocate(capacity: WeightFormat.packScratchFloats(columns: columns))
        defer { scratch.deallocate() }
        for start in stride(from: 0, to: raw.count, by: rows * rowBytes) {
            let block = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            memory.append(block)
            guard let base = block.baseAddress else { continue }
            try raw.withUnsafeBytes { raw in
                for tile in 0..<(rows + 15) / 16 {
                    let pointers = (0..<16).map { lane -> UnsafeRawPointer? in
                        let row = tile * 16 + lane
                        return row < rows ? raw.baseAddress?.advanced(by: start + row * rowBytes) : nil
                    }
                    try tensor.format.packTile(
                        rows: pointers, columns: columns, to: .f32,
                        into: base + tile * (WeightFormat.f32.tileBytes(columns: columns) ?? 0), scratch: scratch)
                }
            }
            let packed = PackedMatrix(format: .f32, rows: rows, columns: columns, base: base, byteCount: size)
            if let packed { matrices[tensor.name, default: []].append(packed) }
        }
    }

    /// W @ x.
    private func product(_ name: String, _ x: [Float], expert: Int = 0) -> [Float] {
        guard let matrix = matrices[name + ".weight"]?[expert] else { return [] }
        var out = [Float](repeating: 0, count: matrix.rows)
        matrix.multiply(input: x, output: &out)
        return out
    }

    /// A tensor's row as numbers; tiles hold 16 rows side by side.
    private func row(_ name: String, _ row: Int = 0) -> [Float] {
        if row == 0, let known = vectors[name] { return known }
        guard let matrix = matrices[name]?.first else { return [] }
        let tile = matrix.base.assumingMemoryBound(to: Float.self) + row / 16 * 16 * matrix.columns
        let numbers = (0..<matrix.columns).map { tile[$0 * 16 + row % 16] }
        if row == 0 { vectors[name] = numbers }
        return numbers
    }

    private func norm(_ name: String, _ x: [Float]) -> [Float] {
        var out = x
        Kernels.rmsNorm(x, weight: row(name + ".weight"), epsilon: 1e-6, count: x.count, into: &out)
        return out
    }

    private func sum(_ a: [Float], _ b: [Float], times factor: Float = 1) -> [Float] {
        var out = a
        Kernels.axpy(factor, b, to: &out, count: out.count)
        return out
    }

    private func attention(_ layer: Int, _ x: [Float]) -> [Float] {
        let at = "blk.\(layer).attn_"
        func projected(_ part: String) -> [Float] { sum(product(at + part, x), row("\(at)\(part).bias")) }
        var (q, k) = (projected("q"), projected("k"))
        let v = projected("v")
        var (cosines, sines) = ([Float](repeating: 0, count: headDim / 2), [Float](repeating: 0, count: headDim / 2))
        let frequencies = (0..<headDim / 2).map { Float(Kernels.pow(10_000, -2 * Double($0) / Double(headDim))) }
        Kernels.ropeTable(frequencies: frequencies, scale: 1, position: position, cos: &cosines, sin: &sines)
        let (size, group) = (headDim, heads / kvHeads)
        q.withUnsafeMutableBufferPointer { q in
            for head in 0..<heads {
                guard let base = q.baseAddress else { continue }
                Kernels.rope(base + head * size, headDim: size, cos: cosines, sin: sines)
            }
        }
        var out = [Float](repeating: 0, count: hidden)
        for head in 0..<kvHeads {
            var key = Array(k[head * size..<(head + 1) * size])
            Kernels.rope(&key, headDim: size, cos: cosines, sin: sines)
            k.replaceSubrange(head * size..<(head + 1) * size, with: key)
            let keys = caches[layer].keys + head * cacheStep.keys
            let values = caches[layer].values + head * cacheStep.values
            KVFormat.f32.store(
                key: key, value: Array(v[head * size..<(head + 1) * size]), headDim: size, position: position,
                keys: keys, values: values)
            let queries = Array(q[head * group * size..<(head + 1) * group * size])
            var scores = [Float](repeating: 0, count: KVFormat.scoreFloats(positions: position + 1, heads: group))
            var part = [Float](repeating: 0, count: group * size)
            KVFormat.f32.attend(
                queries: queries, heads: group, headDim: size, positions: position + 1,
                scale: 1 / Float(size).squareRoot(), keys: keys, values: values, scores: &scores, into: &part)
            out.replaceSubrange(head * group * size..<(head + 1) * group * size, with: part)
        }
        return product(at + "output", out)
    }

    private func expert(_ at: String, _ suffix: String, _ x: [Float], _ index: Int = 0) -> [Float] {
        let (gate, up) = (
            product("\(at)ffn_gate_\(suffix)", x, expert: index), product("\(at)ffn_up_\(suffix)", x, expert: index)
        )
        var inner = gate
        Kernels.siluMultiply(gate: gate, up: up, count: gate.count, into: &inner)
        return product("\(at)ffn_down_\(suffix)", inner, expert: index)
    }

    private func best(_ logits: [Float]) -> [Int] {
        Array(logits.indices.sorted { logits[$0] > logits[$1] }.prefix(topK))
    }

    /// Sends one token through.
    /// - Returns: the gates' choices by layer, and the next token's logits.
    func step(_ token: Int) -> (choices: [GateChoice], logits: [Float]) {
        var x = row("token_embd.weight", token)
        var choices: [GateChoice] = []
        for layer in 0..<layers {
            let at = "blk.\(layer)."
            x = sum(x, attention(layer, norm(at + "attn_norm", x)))
            let seen = norm(at + "ffn_norm", x)
            let logits = product(at + "ffn_gate_inp", seen)
            let next = layer + 1 < layers ? best(product("blk.\(layer + 1).ffn_gate_inp", seen)) : []
            choices.append(GateChoice(experts: best(logits), foreseen: next, logits: logits))
            var weights = logits
            Kernels.softmax(&weights, count: weights.count)
            let share = product(at + "ffn_gate_inp_shexp", seen)
            x = sum(x, expert(at, "shexp", seen), times: Kernels.sigmoid(share.first ?? 0))
            for index in best(logits) { x = sum(x, expert(at, "exps", seen, index), times: weights[index]) }
        }
        position += 1
        return (choices, product("output", norm("output_norm", x)))
    }
}

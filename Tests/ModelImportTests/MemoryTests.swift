// A deployment's memory does not grow with the file: a sparse model many times larger than the limit passes
// through a process of its own.
import FunctionModel
import Glibc
import ModelImport
import Testing

@Suite struct MemoryTests {
    @Test("A model of 1.1 GB passes through less than 256 MiB of memory")
    func sparse() async {
        await #expect(processExitsWith: .success) {
            let image = GGUFImage.large(experts: 60, width: 1408, hidden: 2048, vocabulary: 151_936)
            let header = image.file
            let descriptor = try unnamedFile(header)
            let end = image.tensors.map { ($0.offset ?? 0) + GGUFImage.bytes($0) }.max() ?? 0
            guard ftruncate(descriptor, off_t(header.count) + off_t(end)) == 0 else { exit(2) }
            let sink = HashingSink()
            let manifest = try ModelImport.run(
                sources: [ImportSource(name: "large.gguf", descriptor: descriptor)],
                options: ImportOptions(probe: true),
                sink: sink, progress: { _, _, _ in })
            guard manifest.bytes > 1 << 30, sink.seen == manifest.functions.count else { exit(3) }
            guard let peak = peakMemory(), peak < 256 << 20 else { exit(4) }
        }
    }
}

/// Has every shard already, so nothing is written.
private final class HashingSink: ShardSink {
    var seen = 0
    func has(index: Int, digest: [UInt8]) throws(ImportError) -> Bool {
        seen += 1
        return true
    }
    func create(index: Int, length: Int) throws(ImportError) -> Int32 { throw ImportError(.refused, "not asked for") }
    func finish(index: Int, digest: [UInt8], length: Int) throws(ImportError) {}
}

/// VmHWM of this process in bytes.
private func peakMemory() -> Int? {
    guard let file = fopen("/proc/self/status", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, 256, file) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if text.hasPrefix("VmHWM:") { return Int(text.filter(\.isNumber)).map { $0 * 1024 } }
    }
    return nil
}

extension GGUFImage {
    static func bytes(_ tensor: Tensor) -> UInt64 {
        let count = tensor.dimensions.reduce(1, *)
        return tensor.type == 0 ? count * 4 : count / 32 * 34
    }

    /// The tiny model's tokenizer on a layer of a real model's size; tensors have places but no data.
    static func large(experts: UInt64, width: UInt64, hidden: UInt64, vocabulary: UInt64) -> GGUFImage {
        var image = tiny()
        image["qwen2moe.embedding_length"] = .u32(UInt32(hidden))
        image["qwen2moe.attention.head_count"] = .u32(16)
        image["qwen2moe.attention.head_count_kv"] = .u32(16)
        image["qwen2moe.expert_count"] = .u32(UInt32(experts))
        image["qwen2moe.expert_feed_forward_length"] = .u32(UInt32(width))
        image["qwen2moe.expert_shared_feed_forward_length"] = .u32(UInt32(width))
        var offset: UInt64 = 0
        for index in image.tensors.indices {
            var tensor = image.tensors[index]
            let sizes: [String: [UInt64]] = [
                "token_embd": [hidden, vocabulary], "output": [hidden, vocabulary], "ffn_gate_inp": [hidden, experts],
                "attn_q": [hidden, hidden], "attn_k": [hidden, hidden], "attn_v": [hidden, hidden],
                "attn_output": [hidden, hidden], "ffn_gate_shexp": [hidden, width], "ffn_up_shexp": [hidden, width],
                "ffn_down_shexp": [width, hidden], "ffn_gate_exps": [hidden, width, experts],
                "ffn_up_exps": [hidden, width, experts], "ffn_down_exps": [width, hidden, experts],
            ]
            let parts = tensor.name.split(separator: ".")
            tensor.dimensions =
                tensor.name.hasSuffix(".bias") ? [hidden] : sizes[String(parts[parts.count - 2])] ?? [hidden]
            tensor.type = tensor.dimensions.count > 1 && !tensor.name.contains("gate_inp") ? 8 : 0
            (tensor.data, tensor.offset) = ([], offset)
            offset += (bytes(tensor) + 31) / 32 * 32
            image.tensors[index] = tensor
        }
        return image
    }
}

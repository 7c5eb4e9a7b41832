// A target is a function of bytes that must come back: with a value or with an error, soon, and without taking much
// memory. Whatever else it knows to be true it states as a precondition, which libFuzzer reports like any other end of
// the process. `make fuzz` links all of them with libFuzzer into one program; `make test` feeds them the corpus.

/// One parser and how it is fed.
public struct FuzzTarget: Sendable {
    public let name: String
    /// Bytes of the longest input that is tried.
    public let longest: Int
    /// Feeds it once.
    public let body: @Sendable ([UInt8]) -> Void

    public static let all = [
        gguf, safetensors, config, tokenizerConfig, tokenizer, tokenizerTables, template, templateProgram, folder,
        shard, olderShard, routerConfig, nodeSession, invokeChannel, importChannel, zygoteChannel, routerChannel,
        answer,
        request, http, manifest,
    ]

    init(_ name: String, longest: Int, _ body: @escaping @Sendable ([UInt8]) -> Void) {
        (self.name, self.longest, self.body) = (name, longest, body)
    }
}

extension [UInt8] {
    /// Several files in one input: cut at record separators (0x1E), which stand in none of the texts. The last part is
    /// the rest, whatever is in it; parts that are missing are empty.
    func parts(_ count: Int) -> [[UInt8]] {
        let found = split(separator: 0x1E, maxSplits: count - 1, omittingEmptySubsequences: false).map { Array($0) }
        return found + [[UInt8]](repeating: [], count: count - found.count)
    }

    /// The first byte, which chooses among the kinds of message on a channel, and the rest.
    var chosen: (kind: UInt8, rest: [UInt8]) { (first ?? 0, Array(dropFirst())) }

    var text: String { String(decoding: self, as: UTF8.self) }
}

/// Bytes at a page boundary, as a mapping has them, and not one more: AddressSanitizer sees a read behind them.
func withPages(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> Void) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 4096)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    body(UnsafeRawBufferPointer(memory))
}

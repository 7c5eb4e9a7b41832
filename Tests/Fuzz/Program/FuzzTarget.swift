// A target is a function of bytes that must come back: with a value or with an error, soon, and without taking much
// memory. Whatever else it knows to be true it states as a precondition, which libFuzzer reports like any other end of
// the process. One program holds all targets, because what takes long is linking it.
import CFuzzer

/// One parser and how it is fed.
struct FuzzTarget: Sendable {
    let name: String
    /// Bytes of the longest input that is tried.
    let longest: Int
    let body: @Sendable ([UInt8]) -> Void

    static let all = [
        gguf, safetensors, config, tokenizerConfig, tokenizer, tokenizerTables, template, templateProgram, folder,
        shard, routerConfig, nodeSession, invokeChannel, importChannel, zygoteChannel, routerChannel, answer, request,
        http, manifest,
    ]

    /// libFuzzer calls a C function, which captures nothing.
    nonisolated(unsafe) private static var chosen: FuzzTarget?

    init(_ name: String, longest: Int, _ body: @escaping @Sendable ([UInt8]) -> Void) {
        (self.name, self.longest, self.body) = (name, longest, body)
    }

    /// Hands the process to libFuzzer.
    /// - Returns: its exit code.
    func fuzz(_ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32 {
        Self.chosen = self
        return locum_fuzz(count, arguments) { data, count in
            FuzzTarget.chosen?.body(Array(UnsafeBufferPointer(start: data, count: count)))
            return 0
        }
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

// The lines of a server-sent event stream, put together from the pieces in which they arrive.
import FoundationEssentials

/// Yields the `data:` payloads of a stream.
struct ServerSentEvents {
    private var partial: [UInt8] = []

    mutating func add(_ bytes: ArraySlice<UInt8>) -> [String] {
        partial += bytes
        var events: [String] = []
        while let end = partial.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: partial[..<end], as: UTF8.self)
            partial.removeSubrange(...end)
            if line.hasPrefix("data:") { events.append(line.dropFirst(5).drop { $0 == " " }.filter { $0 != "\r" }) }
        }
        return events
    }
}

/// The parts of OpenAI's chunks that the CLI reads, of completions and chat alike.
struct Chunk: Decodable {
    struct Choice: Decodable {
        struct Delta: Decodable { let content: String? }
        let text: String?
        let delta: Delta?
        let finish_reason: String?
    }
    struct Usage: Decodable {
        let prompt_tokens: Int
        let completion_tokens: Int
    }
    struct Failure: Decodable { let message: String, code: String? }
    let choices: [Choice]?
    let usage: Usage?
    let error: Failure?
}

// One streamed request to the inference API over the administration socket, with what a person wants to know
// about it: the text as it comes, the time to the first token, the rate.
import CLinux
import ControlClient
import FoundationEssentials

/// What `--json` prints of a generation.
struct GenerationResult: Encodable {
    var text = ""
    var prompt_tokens = 0
    var completion_tokens = 0
    var first_token_ms = 0.0
    var tokens_per_second = 0.0
    var finish_reason = ""
}

enum Generation {
    /// Runs the request; `each` gets every piece of text.
    /// - Throws: `ControlError`, also for an error that arrives within the stream.
    static func run(
        _ client: ControlClient, path: String, body: some Encodable, each: (String) -> Void
    ) throws -> GenerationResult {
        var result = GenerationResult()
        var events = ServerSentEvents()
        var failure: ControlError?
        let start = locum_monotonic_ns()
        var (first, last) = (start, start)
        try client.stream("POST", path, body: try JSONEncoder().encode(body)) { bytes in
            for event in events.add(bytes) where event != "[DONE]" {
                guard let chunk = try? JSONDecoder().decode(Chunk.self, from: Data(event.utf8)) else { continue }
                if let error = chunk.error {
                    failure = ControlError(kind: .failed, code: error.code ?? "stream", message: error.message)
                    return false
                }
                if let usage = chunk.usage {
                    result.prompt_tokens = usage.prompt_tokens
                    result.completion_tokens = usage.completion_tokens
                }
                guard let choice = chunk.choices?.first else { continue }
                if let reason = choice.finish_reason { result.finish_reason = reason }
                let text = choice.text ?? choice.delta?.content ?? ""
                guard !text.isEmpty else { continue }
                last = locum_monotonic_ns()
                if result.text.isEmpty { first = last }
                result.text += text
                each(text)
            }
            return true
        }
        if let failure { throw failure }
        result.first_token_ms = Double(first - start) / 1e6
        if result.completion_tokens > 1, last > first {
            result.tokens_per_second = Double(result.completion_tokens - 1) * 1e9 / Double(last - first)
        }
        return result
    }
}

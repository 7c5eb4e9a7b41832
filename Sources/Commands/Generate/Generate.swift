// `locum generate`: one completion, streamed to standard output.
import ArgumentParser
import FoundationEssentials
import Glibc

/// Sampling options that generate and chat share.
struct SamplingOptions: ParsableArguments {
    @Option(help: "Most tokens of output; default: up to the context's end.") var maxTokens: Int?
    @Option(help: "0 is greedy; default: the model's own.") var temperature: Double?
    @Option(help: "Keep the most probable tokens up to this sum.") var topP: Double?
    @Option(help: "The same seed gives the same text.") var seed: Int?

    func validate() throws {
        if let maxTokens, maxTokens < 1 { throw ValidationError("--max-tokens \(maxTokens): must be at least 1.") }
        if let temperature, !(0...2).contains(temperature) {
            throw ValidationError("--temperature \(temperature): must be between 0 and 2.")
        }
        if let topP, !(topP > 0 && topP <= 1) {
            throw ValidationError("--top-p \(topP): must be above 0 and at most 1.")
        }
    }
}

struct StreamOptions: Encodable {
    let include_usage = true
    private enum CodingKeys: String, CodingKey { case include_usage }
}

struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continue a prompt; the text streams to standard output.")

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Name of a deployed model.") var model: String
    @Argument(help: "The prompt; - reads it from standard input.") var prompt: String
    @OptionGroup var sampling: SamplingOptions
    @Flag(help: "Print one JSON object instead of the text.") var json = false

    private struct Body: Encodable {
        let model: String
        let prompt: String
        /// -1: as far as the context goes, where OpenAI's default would be 16 tokens.
        let max_tokens: Int
        let temperature: Double?
        let top_p: Double?
        let seed: Int?
        let stream = true
        let stream_options = StreamOptions()
        private enum CodingKeys: String, CodingKey {
            case model, prompt, max_tokens, temperature, top_p, seed, stream, stream_options
        }
    }

    func run() throws {
        try reporting {
            let text = prompt == "-" ? StandardInput.readAll() : prompt
            let body = Body(
                model: model, prompt: text, max_tokens: sampling.maxTokens ?? -1, temperature: sampling.temperature,
                top_p: sampling.topP, seed: sampling.seed)
            let result = try Generation.run(daemon.client, path: "/v1/completions", body: body) {
                if !json { write(text: $0) }
            }
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                write(bytes: Array(try encoder.encode(result)))
            }
            write(text: "\n")
        }
    }
}

enum StandardInput {
    static func readAll() -> String { String(decoding: readAllBytes(), as: UTF8.self) }

    static func readAllBytes() -> [UInt8] {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while case let n = read(STDIN_FILENO, &buffer, buffer.count), n > 0 { all += buffer.prefix(n) }
        return all
    }
}

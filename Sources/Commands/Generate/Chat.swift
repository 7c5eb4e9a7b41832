// `locum chat`: a conversation on the terminal; each line is a turn.
import ArgumentParser
import FoundationEssentials
import Glibc

struct Chat: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Talk to a model.", discussion: "Each line is a turn; an empty line or Ctrl-D ends.")

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Name of a deployed model.") var model: String
    @Option(help: "A system message.") var system: String?
    @OptionGroup var sampling: SamplingOptions

    private struct Message: Encodable {
        let role: String
        let content: String
    }

    private struct Body: Encodable {
        let model: String
        let messages: [Message]
        let max_tokens: Int?
        let temperature: Double?
        let top_p: Double?
        let seed: Int?
        let stream = true
        let stream_options = StreamOptions()
        private enum CodingKeys: String, CodingKey {
            case model, messages, max_tokens, temperature, top_p, seed, stream, stream_options
        }
    }

    func run() throws {
        try reporting {
            let terminal = isatty(STDIN_FILENO) == 1
            var messages = system.map { [Message(role: "system", content: $0)] } ?? []
            while true {
                if terminal { write(text: "> ") }
                guard let line = readLine(), !line.isEmpty else { break }
                messages.append(Message(role: "user", content: line))
                let body = Body(
                    model: model, messages: messages, max_tokens: sampling.maxTokens,
                    temperature: sampling.temperature, top_p: sampling.topP, seed: sampling.seed)
                let result = try Generation.run(daemon.client, path: "/v1/chat/completions", body: body) {
                    write(text: $0)
                }
                write(text: "\n")
                messages.append(Message(role: "assistant", content: result.text))
            }
        }
    }
}

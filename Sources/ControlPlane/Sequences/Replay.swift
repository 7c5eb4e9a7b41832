// What is kept of a sequence so that it outlives its router: the prompt's ids, the output's ids, the seed (text
// would not give the ids back). A new router replays them silently and goes on; what it says again is dropped
// here, so that the client sees one undisturbed stream. A router may have been taken over, so what it says has to follow
// from what it said before, and all of it together has a limit: nobody reads as fast as a router can talk. Pure.
import Wire

/// A sequence's progress, and the request that continues it.
struct Replay: Sendable {
    private let original: GenerateSpec
    private var prompt: [Int32]?
    private var output: [Int32] = []
    /// Prompt positions whose scores were passed on.
    private var scored = 0
    /// The prompt's scores are all through: the first token comes after them.
    private var scoresDone = false
    /// Of the model when this began: its revision, and how many tokens it holds at most.
    private var revision: Int?
    private var context = 0
    /// Bytes of text and scores that were passed on.
    private var bytes = 0
    private var said = Said()

    /// What the router at hand has said. It says nothing twice; only another one repeats what the client has.
    private struct Said {
        var started = false
        var timed = false
        /// Prompt positions whose scores it sent.
        var scored = 0
    }

    /// What all text may take beside `perPosition` for each token and each score.
    static let someText = 16 << 20
    static let perPosition = 4096

    init(_ spec: GenerateSpec) { original = spec }

    /// Another router takes over. Whether one of `revision` may: of another revision it would go on with another text.
    mutating func continues(revision: Int?, context: Int) -> Bool {
        // Scores come behind the prompt.
        let begun = prompt != nil || !output.isEmpty
        if !begun { (self.revision, self.context) = (revision, context) }
        said = Said()
        return self.revision == revision
    }

    /// The request for a (new) router.
    var spec: GenerateSpec {
        var spec = original
        if let prompt { spec.prompt = .tokens(prompt) }
        spec.resumed = output
        if scoresDone { spec.promptScores = false }
        return spec
    }

    /// A router's event, seen by the client.
    enum Passage {
        case news(RouterEvent)
        /// The client has it already.
        case known
        /// No honest router says that.
        case nonsense(String)
    }

    mutating func pass(_ event: RouterEvent) -> Passage {
        switch event {
        case .started(let ids, let text, _):
            guard !said.started, ids.count <= context else { return .nonsense("started with \(ids.count) tokens") }
            said.started = true
            guard prompt == nil else { return .known }
            prompt = ids
            return pass(text.utf8.count, event)
        case .promptScores(let first, let scores):
            guard spec.promptScores, let prompt, Int(first) == said.scored, said.scored + scores.count <= prompt.count
            else {
                return .nonsense("scores prompt positions from \(first) on out of turn")
            }
            said.scored += scores.count
            let fresh = Array(scores.suffix(max(0, said.scored - scored)))
            guard !fresh.isEmpty else { return .known }
            let from = UInt32(scored)
            scored = said.scored
            return pass(fresh.reduce(0) { $0 + Self.size($1) }, .promptScores(first: from, fresh))
        case .token(let index, let id, let text, let score):
            let most = min(original.maxTokens.map { Int($0) } ?? context, context)
            guard Int(index) == output.count, output.count < most else {
                return .nonsense("sent token \(index) of \(most), having sent \(output.count)")
            }
            scoresDone = true
            output.append(id)
            return pass(text.utf8.count + (score.map(Self.size) ?? 0), event)
        case .firstToken:
            guard !said.timed else { return .nonsense("timed a first token twice") }
            said.timed = true
            return output.isEmpty ? .news(event) : .known
        case .finished(_, let text, _): return pass(text.utf8.count, event)
        case .failed: return .news(event)
        case .trace, .routes, .used: return .nonsense("sent what nobody asked for")
        }
    }

    private mutating func pass(_ more: Int, _ event: RouterEvent) -> Passage {
        bytes += more
        let most = Self.someText + Self.perPosition * (output.count + scored)
        return bytes <= most ? .news(event) : .nonsense("sent \(bytes >> 20) MiB of text")
    }

    private static func size(_ score: TokenScore) -> Int {
        ([score.token] + score.top).reduce(0) { $0 + 32 + $1.bytes.count }
    }
}

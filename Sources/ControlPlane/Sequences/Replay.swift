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

    /// Most tokens of output.
    private let most: Int
    private let context: Int
    private var hasTimed = false
    /// Bytes of text so far, in all forms.
    private var text = 0

    /// Of all text of a sequence.
    static let mostText = 16 << 20

    /// - Parameter context: tokens that the model holds at most.
    init(_ spec: GenerateSpec, context: Int) {
        (original, self.context) = (spec, context)
        most = min(spec.maxTokens.map { Int($0) } ?? context, context)
    }

    /// Of the model, when this began.
    private var revision: Int?

    /// Whether a router of `revision` may go on with it: another revision would go on with another text.
    mutating func continues(revision: Int?) -> Bool {
        let begun = !output.isEmpty || scored > 0
        if !begun { self.revision = revision }
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
    enum Passage: Equatable {
        case news(RouterEvent)
        /// The client has it already.
        case known
        /// No honest router says that.
        case nonsense(String)
    }

    mutating func pass(_ event: RouterEvent) -> Passage {
        switch event {
        case .started(let ids, let text, _):
            guard ids.count <= context else { return .nonsense("has a prompt of \(ids.count) tokens") }
            guard prompt == nil else { return .known }
            prompt = ids
            return passText(text.utf8.count, event)
        case .promptScores(let first, let scores):
            guard spec.promptScores, let prompt, first <= scored, Int(first) + scores.count <= prompt.count else {
                return .nonsense("scores prompt positions \(first) to \(Int(first) + scores.count) out of turn")
            }
            let fresh = Array(scores.dropFirst(scored - Int(first)))
            guard !fresh.isEmpty else { return .known }
            let from = UInt32(scored)
            scored += fresh.count
            return passText(fresh.reduce(0) { $0 + Self.size($1) }, .promptScores(first: from, fresh))
        case .token(let index, let id, let text, let score):
            guard index <= output.count, index < most else {
                return .nonsense("sent token \(index) of \(most), having sent \(output.count)")
            }
            scoresDone = true
            guard index == output.count else { return .known }
            output.append(id)
            return passText(text.utf8.count + (score.map(Self.size) ?? 0), event)
        case .firstToken:
            guard output.isEmpty, !hasTimed else { return .known }
            hasTimed = true
            return .news(event)
        case .finished(_, let text, _): return passText(text.utf8.count, event)
        case .failed: return .news(event)
        case .trace, .routes: return .nonsense("sent what nobody asked for")
        }
    }

    private mutating func passText(_ bytes: Int, _ event: RouterEvent) -> Passage {
        text += bytes
        return text <= Self.mostText ? .news(event) : .nonsense("sent more than \(Self.mostText >> 20) MiB of text")
    }

    private static func size(_ score: TokenScore) -> Int {
        ([score.token] + score.top).reduce(0) { $0 + 32 + $1.bytes.count }
    }
}

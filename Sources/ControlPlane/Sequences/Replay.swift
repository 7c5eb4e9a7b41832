// What is kept of a sequence so that it outlives its router: the prompt's ids, the output's ids, the seed (text
// would not give the ids back). A new router replays them silently and goes on; what it says again is dropped
// here, so that the client sees one undisturbed stream. Pure.
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

    init(_ spec: GenerateSpec) { original = spec }

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

    /// What of a router's event is new to the client; nil: nothing.
    mutating func passOn(_ event: RouterEvent) -> RouterEvent? {
        switch event {
        case .started(let ids, _, _):
            guard prompt == nil else { return nil }
            prompt = ids
            return event
        case .promptScores(let first, let scores):
            let known = scored - Int(first)
            guard known < scores.count else { return nil }
            let fresh = Array(scores.dropFirst(max(known, 0)))
            scored = Int(first) + scores.count
            return .promptScores(first: UInt32(scored - fresh.count), fresh)
        case .token(let index, let id, _, _):
            scoresDone = true
            guard Int(index) >= output.count else { return nil }
            output.append(id)
            return event
        case .firstToken: return output.isEmpty ? event : nil
        case .finished, .failed, .trace, .routes:
            return event
        }
    }
}

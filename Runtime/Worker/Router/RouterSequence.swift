// One sequence from its prompt to its end. Its tokens are prompt + output; `computed` of them are in the cache.
// Whatever is not computed yet is what the next steps compute: the whole prompt at first, then the token drawn
// last. So prefill, decoding and the replay of a sequence whose router died are one path, and a replay draws
// what the undisturbed run drew: each token is a function of the tokens before it. What another sequence has computed of
// the same tokens is copied and not computed again.
import Kernels
import Wire

/// What names a sequence within a router.
struct SequenceKey: Hashable {
    let caller: UInt64
    /// The caller's own number.
    let number: UInt64
}

/// What the parts of the time to a first token are measured from; nanoseconds of the monotonic clock.
struct SequenceClock {
    /// It was asked for.
    var arrived: UInt64 = 0
    /// There was room for it.
    var begun: UInt64 = 0
    /// What the model had waited for experts by then.
    var waited = StartCost()

    /// - Parameter waited: what it has waited for by `now`.
    func firstToken(at now: UInt64, waited: StartCost) -> FirstToken {
        FirstToken(total: now - arrived, queue: begun - arrived, waited - self.waited)
    }
}

/// A sequence under way.
final class RouterSequence<Cache: AnyObject> {
    private enum State {
        /// Prompt (or replayed output) is not in the cache yet.
        case reading
        /// One token is to be computed, then the next is drawn.
        case writing
        case ended
    }

    let key: SequenceKey
    /// Unique within the router's life.
    let number: UInt64
    /// Bytes of the memory budget that are reserved for its cache.
    let reserved: Int
    /// When it was asked for and when it was taken on, and what the model had waited for experts by then.
    let clock: SequenceClock
    private let request: SequenceRequest
    let cache: Cache
    /// Prompt, then output.
    private var tokens: [Int32]
    /// Tokens in the cache; below tokens.count while the sequence goes on.
    private var computed: Int
    /// Those that were in the cache when it began.
    private let cached: Int
    private var state = State.reading
    private var text: OutputText
    private var history: TokenHistory?
    /// All that it has cost, and what of that its caller was told, at which moment of the monotonic clock.
    private(set) var cost = SequenceCost()
    private var told: (cost: SequenceCost, at: UInt64)
    /// Until when its cache is paid for.
    private var held: UInt64

    /// - Parameters:
    ///   - cached: positions in the cache already; at most those of `request.known`.
    ///   - bytes: a token's bytes for the output's text; empty for special tokens.
    init(
        key: SequenceKey, request: SequenceRequest, cache: Cache, cached: Int = 0, number: UInt64 = 0,
        reserved: Int = 0, clock: SequenceClock = SequenceClock(), bytes: (Int32) -> [UInt8]
    ) {
        (self.cached, computed) = (cached, cached)
        (self.number, self.clock) = (number, clock)
        (held, told) = (clock.begun, (SequenceCost(), clock.begun))
        (self.key, self.request, self.cache, self.reserved) = (key, request, cache, reserved)
        tokens = request.prompt
        text = OutputText(stops: request.stop, dropsFirstBlank: request.beginsText)
        if request.plan.penalizes { history = TokenHistory(prompt: request.prompt) }
        for token in request.resumed { _ = append(token, bytes: bytes(token)) }
    }

    var hasEnded: Bool { state == .ended }
    /// Nothing was computed for it yet.
    var isNew: Bool { computed == cached }
    /// All tokens, for the record.
    var length: Int { tokens.count }
    func isPrompt(_ position: Int) -> Bool { position < request.prompt.count }
    /// Those whose keys and values are in the cache.
    var computedTokens: ArraySlice<Int32> { tokens[..<computed] }
    var owner: UInt64 { request.owner }
    /// What the HTTP request is called.
    var requestID: RequestID? { request.id }
    var traces: Bool { request.traces }
    /// Rows that it could have computed now.
    var pending: Int { hasEnded ? 0 : tokens.count - computed }
    /// Whether rows of the prompt want logits too, which cost memory.
    var wantsPromptLogits: Bool { request.wantsPromptLogits }

    /// How long a caller waits at most to hear what has been spent, in nanoseconds.
    private static var tellingPause: UInt64 { 500_000_000 }

    /// Adds to what it has cost.
    /// - Parameters:
    ///   - cacheBytes: what its cache has held until now.
    func spend(_ more: SequenceCost, cacheBytes: Int, at now: UInt64) {
        cost = cost + more
        cost.cacheByteMilliseconds &+= UInt64(cacheBytes) * ((now - min(held, now)) / 1_000_000)
        // Whole milliseconds; the rest counts the next time.
        held += (now - min(held, now)) / 1_000_000 * 1_000_000
    }

    /// What its caller has not heard of its cost: at once if it `ends`, else when it is time.
    func untoldCost(ends: Bool, at now: UInt64) -> SequenceCost? {
        guard cost != told.cost, ends || now >= told.at + Self.tellingPause else { return nil }
        told = (cost, now)
        return cost
    }

    private var outputCount: Int { tokens.count - request.prompt.count }

    /// The first events, and the last ones if there is nothing to compute.
    func begin(emit: (RouterEvent) -> Void) {
        emit(
            .started(
                prompt: request.prompt, text: request.promptText, cached: UInt32(min(cached, request.prompt.count))))
        if text.stopped {
            finish(.stop, emit: emit)
        } else if outputCount >= request.limit, !wantsPromptLogits {
            finish(.length, emit: emit)
        }
    }

    /// Positions of its next `count` rows.
    func positions(_ count: Int) -> Range<Int> { computed..<computed + count }

    /// Its next `count` rows, at most `pending`.
    func rows(_ count: Int) -> [StepRow<Cache>] {
        (computed..<computed + count).map { position in
            StepRow(
                token: tokens[position], position: position, cache: cache, wantsLogits: wantsLogits(at: position))
        }
    }

    private func wantsLogits(at position: Int) -> Bool {
        if position == tokens.count - 1 { return true }
        guard position < request.prompt.count else { return false }
        return request.traces || request.scoresPrompt && position + 1 < request.prompt.count
    }

    /// Takes over the rows that `rows(count)` answered, computed as rows `first…` of the model's last step.
    func advance(
        _ count: Int, first: Int, model: some SequenceModel, sampler: inout Sampler, scorer: TokenScorer,
        bytes: (Int32) -> [UInt8], emit: (RouterEvent) -> Void
    ) throws(RouterFailure) {
        let range = computed..<computed + count
        let row = { (position: Int) in first + position - range.lowerBound }
        if request.traces { trace(range, row, model, emit) }
        if request.scoresPrompt { score(range, row, model, scorer, emit) }
        computed = range.upperBound
        guard computed == tokens.count else { return }
        state = .writing
        guard outputCount < request.limit else { return finish(.length, emit: emit) }
        let logits = model.logits(row: row(range.upperBound - 1))
        let token = try sampler.draw(logits, request.plan, history: history, position: outputCount)
        if request.ends.contains(token) { return finish(.stop, emit: emit) }
        let score = request.alternatives.map { scorer.score(token, in: logits, alternatives: $0) }
        let index = UInt32(outputCount)
        emit(.token(index: index, id: token, text: append(token, bytes: bytes(token)), score: score))
        if text.stopped {
            finish(.stop, emit: emit)
        } else if outputCount == request.limit {
            finish(.length, emit: emit)
        }
    }

    private func append(_ token: Int32, bytes: [UInt8]) -> String {
        tokens.append(token)
        history?.add(token)
        return text.push(bytes)
    }

    private func finish(_ reason: FinishReason, emit: (RouterEvent) -> Void) {
        let tail = text.finish()
        state = .ended
        emit(.finished(text.stopped ? .stop : reason, text: tail, tokens: UInt32(outputCount)))
    }

    private func trace(
        _ range: Range<Int>, _ row: (Int) -> Int, _ model: some SequenceModel, _ emit: (RouterEvent) -> Void
    ) {
        for position in range.clamped(to: 0..<request.prompt.count) {
            let gates = model.gates(row: row(position))
            emit(
                .trace(
                    position: UInt32(position), logits: Array(model.logits(row: row(position))), router: gates.router,
                    experts: gates.experts, weights: gates.weights))
        }
    }

    /// Position p's logits score the prompt's token p + 1.
    private func score(
        _ range: Range<Int>, _ row: (Int) -> Int, _ model: some SequenceModel, _ scorer: TokenScorer,
        _ emit: (RouterEvent) -> Void
    ) {
        let prompt = request.prompt
        var scores = range.lowerBound == 0 ? [scorer.unscored(prompt[0])] : []
        for position in range.clamped(to: 0..<prompt.count - 1) {
            let logits = model.logits(row: row(position))
            scores.append(scorer.score(prompt[position + 1], in: logits, alternatives: request.alternatives ?? 0))
        }
        guard !scores.isEmpty else { return }
        emit(.promptScores(first: UInt32(range.lowerBound == 0 ? 0 : range.lowerBound + 1), scores))
    }
}

// What travels on lane 0 of a link to a router function: requests for sequences one way, tokens the other.
// Prompts and events are small beside tensors, so they go through the socket itself, cut into parts of at
// most `RouterFrame.longestPart` bytes; one sequence's parts come in order.

/// One part of a command or event of a sequence.
public struct RouterFrame: WireMessage, Equatable {
    public static let longestPart = 48 * 1024

    /// The caller's number for the sequence; unique on the link.
    public var sequence: UInt64
    public var last: Bool
    public var part: [UInt8]

    public init(sequence: UInt64, last: Bool, part: [UInt8]) {
        (self.sequence, self.last, self.part) = (sequence, last, part)
    }

    public func encode(into w: inout WireWriter) { w.integer(sequence); w.flag(last); w.blob(part) }

    public init(from r: inout WireReader) throws(WireError) {
        sequence = try r.integer()
        last = try r.flag()
        part = try r.blob()
    }

    /// The frames that carry one message.
    public static func cut(_ message: some WireMessage, sequence: UInt64) -> [RouterFrame] {
        let bytes = message.frame
        return stride(from: 0, to: bytes.count, by: longestPart).map { start in
            let end = min(start + longestPart, bytes.count)
            return RouterFrame(sequence: sequence, last: end == bytes.count, part: Array(bytes[start..<end]))
        }
    }
}

/// Puts the parts of messages together again, per sequence.
public struct RouterAssembler: Sendable {
    private var parts: [UInt64: [UInt8]] = [:]
    private let mostBytes: Int
    private let mostSequences: Int

    /// - Parameters: caps on one message and on messages that are incomplete at once.
    public init(mostBytes: Int = 16 << 20, mostSequences: Int = 256) {
        (self.mostBytes, self.mostSequences) = (mostBytes, mostSequences)
    }

    /// The whole message when `frame` was its last part, nil before.
    /// - Throws: `WireError` when a cap is exceeded.
    public mutating func add(_ frame: RouterFrame) throws(WireError) -> [UInt8]? {
        if frame.last, parts[frame.sequence] == nil { return frame.part }
        guard parts[frame.sequence] != nil || parts.count < mostSequences else {
            throw WireError(reason: "more than \(mostSequences) messages in parts", offset: 0)
        }
        var whole = parts.removeValue(forKey: frame.sequence) ?? []
        guard whole.count + frame.part.count <= mostBytes else {
            throw WireError(reason: "a message of more than \(mostBytes) bytes", offset: mostBytes)
        }
        whole += frame.part
        if frame.last { return whole }
        parts[frame.sequence] = whole
        return nil
    }
}

/// Caller to router.
public enum RouterCommand: WireMessage, Equatable {
    case generate(GenerateSpec)
    /// The caller wants no more of this sequence; only `used` follows, unless it has ended meanwhile.
    case cancel
    /// Which experts the router calls from now on, for whomever: answered by `routes` after each step until `cancel`.
    case watch

    public func encode(into w: inout WireWriter) {
        switch self {
        case .generate(let spec): w.byte(1); spec.encode(into: &w)
        case .cancel: w.byte(2)
        case .watch: w.byte(3)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .generate(try GenerateSpec(from: &r))
        case 2: self = .cancel
        case 3: self = .watch
        case let tag: throw r.failure("unknown router command \(tag)")
        }
    }
}

/// One turn of a conversation.
public struct ChatTurn: WireMessage, Equatable {
    public var role: String
    public var content: String
    public init(role: String, content: String) { (self.role, self.content) = (role, content) }
    public func encode(into w: inout WireWriter) { w.string(role); w.string(content) }
    public init(from r: inout WireReader) throws(WireError) {
        role = try r.string()
        content = try r.string()
    }
}

/// What a caller sets for the model's chat template, beside the messages: a plain value.
public enum TemplateSetting: WireMessage, Equatable {
    case none
    case boolean(Bool)
    case integer(Int64)
    case text(String)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .none: w.byte(1)
        case .boolean(let value): w.byte(2); w.flag(value)
        case .integer(let value): w.byte(3); w.integer(value)
        case .text(let value): w.byte(4); w.string(value)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .none
        case 2: self = .boolean(try r.flag())
        case 3: self = .integer(try r.integer())
        case 4: self = .text(try r.string())
        case let tag: throw r.failure("unknown kind of template setting \(tag)")
        }
    }
}

/// A setting under its name.
public struct NamedSetting: WireMessage, Equatable {
    public var name: String
    public var value: TemplateSetting
    public init(_ name: String, _ value: TemplateSetting) { (self.name, self.value) = (name, value) }
    public func encode(into w: inout WireWriter) { w.string(name); value.encode(into: &w) }
    public init(from r: inout WireReader) throws(WireError) {
        name = try r.string()
        value = try TemplateSetting(from: &r)
    }
}

/// What a sequence starts from.
public enum Prompt: WireMessage, Equatable {
    /// Special tokens in it are parsed, as in OpenAI's completions and llama-server.
    case text(String)
    case tokens([Int32])
    /// Rendered by the model's template with a generation prompt; contents stay plain text.
    case chat([ChatTurn], settings: [NamedSetting] = [])

    public func encode(into w: inout WireWriter) {
        switch self {
        case .text(let text): w.byte(1); w.string(text)
        case .tokens(let ids): w.byte(2); w.integers(ids)
        case .chat(let turns, let settings): w.byte(3); w.messages(turns); w.messages(settings)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .text(try r.string())
        case 2: self = .tokens(try r.integers())
        case 3: self = .chat(try r.messages(), settings: try r.messages())
        case let tag: throw r.failure("unknown prompt \(tag)")
        }
    }
}

/// How the next token is drawn. Nil: the model's generation_config, else OpenAI's default.
public struct SamplingSpec: WireMessage, Equatable {
    /// 0: greedy.
    public var temperature: Float?
    public var topP: Float?
    /// 0: off.
    public var topK: Int32?
    public var minP: Float?
    /// Over prompt and output, as in transformers; 1: off.
    public var repetitionPenalty: Float?
    /// Over the output, as in OpenAI's API; 0: off.
    public var presencePenalty: Float?
    public var frequencyPenalty: Float?
    /// Random numbers are keyed by (seed, choice, position).
    public var seed: UInt64
    public var choice: UInt32

    public init(
        temperature: Float? = nil, topP: Float? = nil, topK: Int32? = nil, minP: Float? = nil,
        repetitionPenalty: Float? = nil, presencePenalty: Float? = nil, frequencyPenalty: Float? = nil,
        seed: UInt64 = 0, choice: UInt32 = 0
    ) {
        (self.temperature, self.topP, self.topK, self.minP) = (temperature, topP, topK, minP)
        (self.repetitionPenalty, self.presencePenalty) = (repetitionPenalty, presencePenalty)
        (self.frequencyPenalty, self.seed, self.choice) = (frequencyPenalty, seed, choice)
    }

    public func encode(into w: inout WireWriter) {
        for value in [temperature, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty] {
            w.optional(value) { $0.float($1) }
        }
        w.optional(topK) { $0.integer($1) }
        w.integer(seed)
        w.integer(choice)
    }

    public init(from r: inout WireReader) throws(WireError) {
        temperature = try r.optional { r throws(WireError) in try r.float() }
        topP = try r.optional { r throws(WireError) in try r.float() }
        minP = try r.optional { r throws(WireError) in try r.float() }
        repetitionPenalty = try r.optional { r throws(WireError) in try r.float() }
        presencePenalty = try r.optional { r throws(WireError) in try r.float() }
        frequencyPenalty = try r.optional { r throws(WireError) in try r.float() }
        topK = try r.optional { r throws(WireError) in try r.integer() }
        seed = try r.integer()
        choice = try r.integer()
    }
}

/// A sequence to generate.
public struct GenerateSpec: WireMessage, Equatable {
    public var prompt: Prompt
    public var sampling: SamplingSpec
    /// Most tokens of output; nil: up to the end of the context. 0 with `promptScores` scores the prompt only.
    public var maxTokens: UInt32?
    /// Texts that end the sequence; they are not part of the output.
    public var stop: [String]
    /// Log-probabilities: nil none, else how many alternatives beside the chosen token (0…20).
    public var topLogprobs: UInt8?
    /// Also score the prompt's tokens (`echo` with `logprobs`).
    public var promptScores: Bool
    /// Do not end at the model's end tokens.
    public var ignoresEnd: Bool
    /// Output tokens that the caller already has, of a router that died: they are replayed (state, penalties,
    /// stop texts, text assembly) without events, then the sequence goes on behind them.
    public var resumed: [Int32]
    /// Send `trace` events for the prompt's positions (locum-eval).
    public var trace: Bool
    /// Whose request it is: what a prompt cache keeps serves the same owner alone.
    public var owner: UInt64
    /// Bytes of keys and values that all of its owner's requests may have at this router, kept prompts included; 0: any number.
    public var ownerBytes: UInt64
    /// What the HTTP request is called; the router names it when it acquires functions.
    public var request: RequestID?

    public init(
        prompt: Prompt, sampling: SamplingSpec = SamplingSpec(), maxTokens: UInt32? = nil, stop: [String] = [],
        topLogprobs: UInt8? = nil, promptScores: Bool = false, ignoresEnd: Bool = false, resumed: [Int32] = [],
        trace: Bool = false, owner: UInt64 = 0, ownerBytes: UInt64 = 0
    ) {
        (self.prompt, self.sampling, self.maxTokens, self.stop) = (prompt, sampling, maxTokens, stop)
        (self.topLogprobs, self.promptScores, self.ignoresEnd) = (topLogprobs, promptScores, ignoresEnd)
        (self.resumed, self.trace, self.owner, self.ownerBytes) = (resumed, trace, owner, ownerBytes)
    }

    public func encode(into w: inout WireWriter) {
        prompt.encode(into: &w)
        sampling.encode(into: &w)
        w.optional(maxTokens) { $0.integer($1) }
        w.list(stop) { $0.string($1) }
        w.optional(topLogprobs) { $0.integer($1) }
        w.flag(promptScores)
        w.flag(ignoresEnd)
        w.integers(resumed)
        w.flag(trace)
        w.integer(owner)
        w.integer(ownerBytes)
        w.optional(request) { $1.encode(into: &$0) }
    }

    public init(from r: inout WireReader) throws(WireError) {
        prompt = try Prompt(from: &r)
        sampling = try SamplingSpec(from: &r)
        maxTokens = try r.optional { r throws(WireError) in try r.integer() }
        stop = try r.strings()
        topLogprobs = try r.optional { r throws(WireError) in try r.integer() }
        promptScores = try r.flag()
        ignoresEnd = try r.flag()
        resumed = try r.integers()
        trace = try r.flag()
        owner = try r.integer()
        ownerBytes = try r.integer()
        request = try r.optional { r throws(WireError) in try RequestID(from: &r) }
    }
}

/// A token with its bytes (special tokens: their name) and natural log-probability before temperature and penalties.
public struct ScoredToken: WireMessage, Equatable {
    public var id: Int32
    public var bytes: [UInt8]
    public var logprob: Float
    public init(id: Int32, bytes: [UInt8], logprob: Float) {
        (self.id, self.bytes, self.logprob) = (id, bytes, logprob)
    }
    public func encode(into w: inout WireWriter) { w.integer(id); w.blob(bytes); w.float(logprob) }
    public init(from r: inout WireReader) throws(WireError) {
        id = try r.integer()
        bytes = try r.blob()
        logprob = try r.float()
    }
}

/// A position's token and the most probable alternatives, best first.
public struct TokenScore: WireMessage, Equatable {
    public var token: ScoredToken
    public var top: [ScoredToken]
    public init(token: ScoredToken, top: [ScoredToken]) { (self.token, self.top) = (token, top) }
    public func encode(into w: inout WireWriter) { token.encode(into: &w); w.messages(top) }
    public init(from r: inout WireReader) throws(WireError) {
        token = try ScoredToken(from: &r)
        top = try r.messages()
    }
}

/// A row of a step.
public struct RouteRow: WireMessage, Equatable {
    /// Unique while the router lives; says nothing about whose it is.
    public var sequence: UInt64
    public var position: UInt32
    /// Part of a prompt (or of output that is replayed), several of which are computed together.
    public var isPrompt: Bool

    public init(sequence: UInt64, position: UInt32, isPrompt: Bool) {
        (self.sequence, self.position, self.isPrompt) = (sequence, position, isPrompt)
    }

    public func encode(into w: inout WireWriter) { w.integer(sequence); w.integer(position); w.flag(isPrompt) }
    public init(from r: inout WireReader) throws(WireError) {
        sequence = try r.integer()
        position = try r.integer()
        isPrompt = try r.flag()
    }
}

public enum FinishReason: UInt8, Sendable {
    /// An end token or a stop text.
    case stop = 1
    /// `maxTokens`, or the context is full.
    case length = 2
}

/// Router to caller.
public enum RouterEvent: WireMessage, Equatable {
    /// The prompt as tokens; first event of a sequence that was taken on. `text`: what they decode to (for echo).
    /// `cached`: how many of them another sequence had computed.
    case started(prompt: [Int32], text: String, cached: UInt32)
    /// Scores of prompt positions from `first` on. The first token of all has no probability: its score says 0
    /// with no alternatives.
    case promptScores(first: UInt32, [TokenScore])
    /// The first token follows: what it took.
    case firstToken(FirstToken)
    /// Output token number `index` (0…). `text`: what it adds to the output, whole UTF-8, held back while it
    /// could still be the start of a stop text.
    case token(index: UInt32, id: Int32, text: String, score: TokenScore?)
    /// The end; `text`: what was held back and belongs to the output.
    case finished(FinishReason, text: String, tokens: UInt32)
    /// Not taken on, or lost. `parameter`: OpenAI's name of the parameter that is wrong, or empty.
    case failed(code: String, parameter: String, message: String)
    /// Of one prompt position: logits (vocabulary), and per MoE layer the router's logits, chosen experts (best
    /// first) and their weights.
    case trace(position: UInt32, logits: [Float], router: [[Float]], experts: [[Int32]], weights: [[Float]])
    /// The experts called in one step, for a `watch`. `experts`: rows × MoE layers × experts per token, best first.
    case routes(step: UInt64, [RouteRow], experts: [UInt16])
    /// What the sequence has cost so far, now and then and before its last event; `last`: it was cancelled, nothing follows.
    case used(SequenceCost, last: Bool)

    /// Whether no event follows.
    public var isLast: Bool {
        switch self {
        case .finished, .failed, .used(_, last: true): true
        case .started, .promptScores, .firstToken, .token, .trace, .routes, .used: false
        }
    }

    public func encode(into w: inout WireWriter) {
        switch self {
        case .started(let prompt, let text, let cached):
            w.byte(1); w.integers(prompt); w.string(text); w.integer(cached)
        case .promptScores(let first, let scores): w.byte(2); w.integer(first); w.messages(scores)
        case .token(let index, let id, let text, let score):
            w.byte(3); w.integer(index); w.integer(id); w.string(text); w.optional(score) { $1.encode(into: &$0) }
        case .finished(let reason, let text, let tokens):
            w.byte(4); w.byte(reason.rawValue); w.string(text); w.integer(tokens)
        case .failed(let code, let parameter, let message):
            w.byte(5); w.string(code); w.string(parameter); w.string(message)
        case .trace(let position, let logits, let router, let experts, let weights):
            w.byte(6); w.integer(position); w.floats(logits); w.list(router) { $0.floats($1) }
            w.list(experts) { $0.integers($1) }; w.list(weights) { $0.floats($1) }
        case .routes(let step, let rows, let experts):
            w.byte(7); w.integer(step); w.messages(rows); w.integers(experts)
        case .firstToken(let parts): w.byte(8); parts.encode(into: &w)
        case .used(let cost, let last): w.byte(9); cost.encode(into: &w); w.flag(last)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .started(prompt: try r.integers(), text: try r.string(), cached: try r.integer())
        case 2: self = .promptScores(first: try r.integer(), try r.messages())
        case 3:
            self = .token(
                index: try r.integer(), id: try r.integer(), text: try r.string(),
                score: try r.optional { r throws(WireError) in try TokenScore(from: &r) })
        case 4:
            guard let reason = FinishReason(rawValue: try r.byte()) else { throw r.failure("unknown finish reason") }
            self = .finished(reason, text: try r.string(), tokens: try r.integer())
        case 5: self = .failed(code: try r.string(), parameter: try r.string(), message: try r.string())
        case 6:
            self = .trace(
                position: try r.integer(), logits: try r.floats(),
                router: try r.list(minimum: 4) { r throws(WireError) in try r.floats() },
                experts: try r.list(minimum: 4) { r throws(WireError) in try r.integers() },
                weights: try r.list(minimum: 4) { r throws(WireError) in try r.floats() })
        case 7: self = .routes(step: try r.integer(), try r.messages(), experts: try r.integers())
        case 8: self = .firstToken(try FirstToken(from: &r))
        case 9: self = .used(try SequenceCost(from: &r), last: try r.flag())
        case let tag: throw r.failure("unknown router event \(tag)")
        }
    }
}

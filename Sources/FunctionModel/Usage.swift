// What is metered: who used what of which model, and how much of it. Whole numbers, so that sums are exact.

/// Whose use it is, and of what.
public struct UsageKey: Hashable, Sendable {
    /// Empty: the operator's, or anybody's on a box without tenants.
    public var tenant: String
    public var model: String
    /// How the key begins that was shown; empty: none was.
    public var key: String

    public init(tenant: String, model: String, key: String) {
        (self.tenant, self.model, self.key) = (tenant, model, key)
    }
}

/// Amounts. Each only grows.
public struct UsageCounts: Sendable, Equatable {
    /// Requests that were admitted.
    public var requests: Int64 = 0
    /// Tokens of prompts; those of them that a prompt cache had; tokens of answers.
    public var promptTokens: Int64 = 0
    public var cachedTokens: Int64 = 0
    public var outputTokens: Int64 = 0
    /// CPU time of experts: of each of their batches the part of its rows.
    public var expertMicroseconds: Int64 = 0
    /// Kilobytes (1,000) of memory times milliseconds that they were held: the keys and values of its sequences, and its part
    /// of the processes and weights of the model while its sequences ran, or were the last that had.
    public var kilobyteMilliseconds: Int64 = 0
    /// Functions that were started because it called them.
    public var coldStarts: Int64 = 0

    public init() {}

    public static func += (a: inout Self, b: Self) {
        a.requests += b.requests
        a.promptTokens += b.promptTokens
        a.cachedTokens += b.cachedTokens
        a.outputTokens += b.outputTokens
        a.expertMicroseconds += b.expertMicroseconds
        a.kilobyteMilliseconds += b.kilobyteMilliseconds
        a.coldStarts += b.coldStarts
    }
}

/// `locum usage --json`.
public struct UsageRow: Codable, Sendable, Equatable {
    public var tenant: String
    public var model: String
    public var key: String
    public var requests: Int64
    public var promptTokens: Int64
    public var cachedTokens: Int64
    public var outputTokens: Int64
    /// Milliseconds.
    public var expertTime: Double
    /// Megabytes (10^6 bytes) times seconds.
    public var memoryTime: Double
    public var coldStarts: Int64

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case tenant, model, key, requests
        case promptTokens = "prompt_tokens"
        case cachedTokens = "cached_tokens"
        case outputTokens = "output_tokens"
        case expertTime = "expert_ms"
        case memoryTime = "mb_seconds"
        case coldStarts = "cold_starts"
    }

    public init(_ key: UsageKey, _ counts: UsageCounts) {
        (tenant, model, self.key) = (key.tenant, key.model, key.key)
        (requests, promptTokens, cachedTokens) = (counts.requests, counts.promptTokens, counts.cachedTokens)
        (outputTokens, coldStarts) = (counts.outputTokens, counts.coldStarts)
        expertTime = Double(counts.expertMicroseconds) / 1000
        memoryTime = (Double(counts.kilobyteMilliseconds) / 1000).rounded() / 1000
    }
}

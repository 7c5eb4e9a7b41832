// What was used in one hour: a row of the record of use, as it goes into a backup and comes back.

/// Amounts of one hour.
public struct UsageHour: Codable, Sendable, Equatable {
    /// Seconds since 1970 at which it began.
    public var hour: Int64
    public var tenant: String
    public var model: String
    public var key: String
    public var requests: Int64
    public var promptTokens: Int64
    public var cachedTokens: Int64
    public var outputTokens: Int64
    public var expertMicroseconds: Int64
    public var kilobyteMilliseconds: Int64
    public var coldStarts: Int64

    public enum CodingKeys: String, CodingKey {
        case hour, tenant, model, key, requests
        case promptTokens = "prompt_tokens"
        case cachedTokens = "cached_tokens"
        case outputTokens = "output_tokens"
        case expertMicroseconds = "expert_us"
        case kilobyteMilliseconds = "kb_ms"
        case coldStarts = "cold_starts"
    }

    public init(hour: Int64, _ key: UsageKey, _ counts: UsageCounts) {
        (self.hour, tenant, model, self.key) = (hour, key.tenant, key.model, key.key)
        (requests, promptTokens, cachedTokens) = (counts.requests, counts.promptTokens, counts.cachedTokens)
        (outputTokens, coldStarts) = (counts.outputTokens, counts.coldStarts)
        (expertMicroseconds, kilobyteMilliseconds) = (counts.expertMicroseconds, counts.kilobyteMilliseconds)
    }

    public var counts: UsageCounts {
        var counts = UsageCounts()
        (counts.requests, counts.promptTokens, counts.cachedTokens) = (requests, promptTokens, cachedTokens)
        (counts.outputTokens, counts.coldStarts) = (outputTokens, coldStarts)
        (counts.expertMicroseconds, counts.kilobyteMilliseconds) = (expertMicroseconds, kilobyteMilliseconds)
        return counts
    }
}

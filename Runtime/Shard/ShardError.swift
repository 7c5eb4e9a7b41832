// One error for everything that can be wrong with a shard. Shards are made by `locum-import` and named by
// their digest, so an error here means a damaged file, a wrong version or a bug; the message carries the
// place in the file, the caller (who knows which function it belongs to) adds the name.

/// A shard, or a router configuration in one, that cannot be used.
public struct ShardError: Error, Sendable, CustomStringConvertible {
    /// What kind of fault, stable across versions.
    public enum Code: String, Sendable {
        case notAShard = "not_a_shard"
        case unsupportedVersion = "unsupported_shard_version"
        case damaged = "damaged_shard"
        case missingTensor = "missing_tensor"
        case badShape = "bad_shape"
        case badConfig = "bad_router_config"
        case tooLarge = "too_large"
    }

    public let code: Code
    /// What is wrong, where in the file, and what helps.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code.rawValue): \(message)" }
}

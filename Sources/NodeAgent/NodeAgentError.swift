// What node refuses or fails at, with the stable code that a caller sees.

/// A failure of the node: a stable code, and what failed, on what, why and what to do.
public struct NodeAgentError: Error, Sendable, CustomStringConvertible {
    /// `bad_request`, `bad_shard`, `shard_missing`, `denied`, `unavailable`, `crashed`, `exhausted`, `busy`, `broken`, `locked`, …
    public let code: String
    public let message: String

    public init(code: String, message: String) { (self.code, self.message) = (code, message) }

    static func badRequest(_ message: String) -> NodeAgentError {
        NodeAgentError(code: "bad_request", message: message)
    }

    /// Another try would come to the same.
    var isFinal: Bool { code == "bad_shard" || code == "shard_missing" }

    public var description: String { message }
}

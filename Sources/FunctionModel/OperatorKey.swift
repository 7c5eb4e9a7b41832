// Keys of the operator: they belong to no tenant, and open what is the operator's over HTTP.

/// What an operator's key opens.
public enum OperatorRole: String, Codable, Sendable, CaseIterable {
    /// Everything that the administration socket serves.
    case admin
    /// `GET /metrics` alone.
    case metrics

    /// As messages name such a key.
    public var noun: String {
        switch self {
        case .admin: "an admin key"
        case .metrics: "a metrics key"
        }
    }
}

/// An operator's key as the registry holds it.
public struct OperatorKey: Sendable, Equatable {
    public var role: OperatorRole
    public var key: KeyRecord

    public init(role: OperatorRole, key: KeyRecord) { (self.role, self.key) = (role, key) }
}

// Settings or a manifest that cannot be used. Whoever wrote them hears everything that is wrong, not only the first.

/// What is wrong: for each fault where it stands, what it is and what would do.
public struct SettingsError: Error, Sendable, CustomStringConvertible {
    /// Not empty.
    public let problems: [String]

    public init(_ problems: [String]) { self.problems = problems }
    public init(_ problem: String) { self.init([problem]) }

    /// A line for each.
    public var description: String {
        let most = 20
        let more = problems.count > most ? ["and \(problems.count - most) more"] : []
        return (problems.prefix(most) + more).joined(separator: "\n")
    }
}

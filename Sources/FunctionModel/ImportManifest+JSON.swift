// The manifest's JSON form. Keys are sorted, so that equal deployments give equal bytes.
public import FoundationEssentials

extension ImportManifest {
    /// - Throws: an encoding error, which finite numbers cannot cause.
    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }

    /// Reads what `json()` wrote.
    public init(json: Data) throws { self = try JSONDecoder().decode(ImportManifest.self, from: json) }
}

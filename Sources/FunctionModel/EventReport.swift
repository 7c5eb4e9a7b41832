// What happens on a box, for people: a line of `locum events`.

/// Something that happened.
public struct EventReport: Codable, Sendable, Equatable {
    public enum Kind: String, Codable, Sendable {
        case coldStart = "cold_start"
        case evict, crash, deploy, remove
        /// Others need memory that idle functions hold.
        case memory
        case node, tenant, key
    }

    /// Of the events since control began; what is missing was not kept.
    public var number: Int
    /// Milliseconds since 1970.
    public var time: Int64
    public var kind: Kind
    /// The function, model, tenant, key or node that it happened to.
    public var subject: String
    /// In plain words.
    public var message: String

    public init(number: Int, time: Int64, kind: Kind, subject: String, message: String) {
        (self.number, self.time, self.kind, self.subject) = (number, time, kind, subject)
        self.message = message
    }
}

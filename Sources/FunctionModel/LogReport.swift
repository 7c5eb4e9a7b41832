// What control says of itself, for people: a line of `locum logs`.

/// An entry of control's log.
public struct LogReport: Codable, Sendable, Equatable {
    /// Of the entries since control began; what is missing was not kept.
    public var number: Int
    /// Milliseconds since 1970.
    public var time: Int64
    /// `debug`, `info`, `notice`, `warning`, `error`, …
    public var level: String
    public var message: String
    /// What it is about: `function`, `request` (several with commas between), `reason`, …
    public var fields: [String: String]

    public init(number: Int, time: Int64, level: String, message: String, fields: [String: String]) {
        (self.number, self.time, self.level, self.message) = (number, time, level, message)
        self.fields = fields
    }

    /// Whether it is about a function, a model or one of its functions, or a request.
    public func concerns(_ name: String) -> Bool {
        let words = message.split { $0.isWhitespace || ",:;'()".contains($0) }.map(String.init)
        return (words + fields.values.flatMap { $0.split(separator: ",").map(String.init) }).contains {
            $0 == name || $0.hasPrefix(name + "/")
        }
    }
}

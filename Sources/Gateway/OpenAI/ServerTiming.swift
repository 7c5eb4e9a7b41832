// Where the time to the first token went, in the header that browsers and tools know for it (Server-Timing, a W3C
// recommendation): milliseconds per part.
import HTTPTypes
import Wire

extension HTTPField.Name {
    /// A literal of token characters.
    static let serverTiming = HTTPField.Name("Server-Timing")
}

extension HTTPFields {
    /// Adds the parts, if they are known.
    mutating func add(_ parts: FirstToken?) {
        guard let parts, let name = HTTPField.Name.serverTiming else { return }
        let list = [
            ("queue", parts.queue), ("spawn", parts.spawn), ("map", parts.map), ("read", parts.read),
            ("compute", parts.compute),
        ]
        self[name] = list.map { "\($0);dur=\($1 / 1000).\($1 % 1000 / 100)" }.joined(separator: ", ")
    }
}

// What a request is called in the log and in its answer, so that what a client saw can be found there: the client's own name
// for it, where that can stand in a line, else one that is made.
import FunctionModel
import HTTPTypes
public import Wire

extension RequestID {
    /// Of the request that is being answered, also in what was begun for it.
    @TaskLocal public static var current: RequestID?

    static func of(_ headers: HTTPFields) -> RequestID? {
        if let name = HTTPField.Name.requestID, let given = headers[name].flatMap({ RequestID($0) }) { return given }
        // 128 bits, always of the same length.
        return RequestID(Hexadecimal.text((0..<16).map { _ in UInt8.random(in: 0...255) }))
    }
}

extension HTTPField.Name {
    /// A literal of token characters.
    static let requestID = HTTPField.Name("X-Request-Id")
}

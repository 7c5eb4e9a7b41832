// What a request is called in the log and in its answer, so that what a client saw can be found there: the client's own name
// for it, where that can stand in a line, else one that is made.
import FunctionModel
import HTTPTypes

public enum RequestID {
    /// Of the request that is being answered, also in what was begun for it.
    @TaskLocal public static var current: String?

    private static let longest = 128

    static func of(_ headers: HTTPFields) -> String {
        if let name = HTTPField.Name.requestID, let given = headers[name], isSane(given) { return given }
        // 128 bits, always of the same length.
        return Hexadecimal.text((0..<16).map { _ in UInt8.random(in: 0...255) })
    }

    /// Letters, digits and what joins them: nothing that could end a line, or begin another field in one.
    static func isSane(_ text: String) -> Bool {
        let joints = Set("-_.:/+=@~".utf8)
        return (1...longest).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || joints.contains(byte)
            }
    }
}

extension HTTPField.Name {
    /// A literal of token characters.
    static let requestID = HTTPField.Name("X-Request-Id")
}

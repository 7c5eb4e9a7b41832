// What an HTTP request is called, from its answer's header through all processes to the journal. Whoever receives one over
// a wire checks it again: nothing that could end a line of a log, or begin another field in one, is a name at all.

/// The name of a request.
public struct RequestID: WireMessage, Hashable, CustomStringConvertible {
    /// 1 to 128 letters, digits and what joins them.
    public let text: String

    private static let longest = 128
    private static let joints = Set("-_.:/+=@~".utf8)
    /// Most that a message names.
    public static let most = 16

    /// nil when the text cannot stand in a line.
    public init?(_ text: String) {
        let isSane =
            (1...Self.longest).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || Self.joints.contains(byte)
            }
        guard isSane else { return nil }
        self.text = text
    }

    public var description: String { text }

    public func encode(into w: inout WireWriter) { w.string(text) }

    public init(from r: inout WireReader) throws(WireError) {
        guard let id = RequestID(try r.string()) else { throw r.failure("this cannot be the name of a request") }
        self = id
    }
}

extension WireReader {
    /// Requests, at most `RequestID.most`.
    mutating func requestIDs() throws(WireError) -> [RequestID] {
        let ids: [RequestID] = try messages()
        guard ids.count <= RequestID.most else {
            throw failure("\(ids.count) requests are named, at most \(RequestID.most)")
        }
        return ids
    }
}

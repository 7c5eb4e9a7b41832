// How long a client may keep a connection without making use of it. The same as nginx has, where it has the like: who
// stops in the middle of a request is told so, who does nothing is not.
public import NIOCore

/// Bounds on clients that say nothing, and on how many there are at once.
public struct ConnectionLimits: Sendable {
    /// The next bytes of a request, or the first of a connection, come within this time; so does the whole head.
    public var request: TimeAmount
    /// A connection between two requests.
    public var idle: TimeAmount
    /// A request's whole body comes within this many times as long.
    static let bodyFactor: Int64 = 10
    var body: TimeAmount { request * Self.bodyFactor }
    /// How long the reason for which a connection is closed may take to arrive.
    var lingering: TimeAmount { .seconds(1) }
    /// Connections of one listener; for more, those leave that have nothing under way, the longest first.
    public var connections: Int
    /// How long a connection may do nothing before it has to make room for another.
    public var rest: TimeAmount
    /// Bytes of one header and of all, and how many there may be.
    static let longestHeader = 16 << 10
    static let longestHeaders = 32 << 10
    static let mostHeaders = 100

    public init(
        request: TimeAmount = .seconds(30), idle: TimeAmount = .seconds(75), connections: Int = 1024,
        rest: TimeAmount = .seconds(1)
    ) {
        (self.request, self.idle, self.connections, self.rest) = (request, idle, connections, rest)
    }
}

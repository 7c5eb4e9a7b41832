// How long a client may keep a connection without making use of it. The same as nginx has, where it has the like: who
// stops in the middle of a request is told so, who does nothing is not.
public import NIOCore

/// Bounds on clients that say nothing, and on how many there are at once.
public struct ConnectionLimits: Sendable {
    /// The next bytes of a request, or the first of a connection, come within this time.
    public var request: TimeAmount
    /// A connection between two requests.
    public var idle: TimeAmount
    /// Connections of one listener; more wait in the kernel's queue until one is closed.
    public var connections: Int

    public init(request: TimeAmount = .seconds(30), idle: TimeAmount = .seconds(75), connections: Int = 1024) {
        (self.request, self.idle, self.connections) = (request, idle, connections)
    }
}

// Control's end of the session with node: connects, pumps events into the controller in order, and begins again
// when it ends, for ever, because `locum up` starts a node that died.
import Glibc
public import Logging
public import NIOCore
import NIOPosix
import Syscall
import Wire

/// Keeps a session with the node of a data folder.
public struct NodeConnection: Sendable {
    private let path: String
    private let group: any EventLoopGroup
    private let logger: Logger
    private static let shortestPause = Duration.milliseconds(50)
    private static let longestPause = Duration.milliseconds(500)

    /// - Parameter path: `DIR/run/node.sock`; may be longer than a socket's path can be.
    public init(path: String, group: any EventLoopGroup, logger: Logger) {
        (self.path, self.group, self.logger) = (path, group, logger)
    }

    /// Runs sessions until the task is cancelled.
    public func run(_ controller: Controller) async {
        var pause = Self.shortestPause
        while !Task.isCancelled {
            do {
                try await session(controller) { pause = Self.shortestPause }
            } catch {
                logger.debug("no session with node: \(error)")
            }
            await controller.disconnected()
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, Self.longestPause)
        }
    }

    private func session(_ controller: Controller, begun: () -> Void) async throws {
        let (events, sink) = AsyncThrowingStream<NodeEvent, any Error>.makeStream()
        let socket = try UnixSocket.connect(path, kind: .stream)
        // NIO closes the number it is given.
        let raw = try check(fcntl(socket.raw, F_DUPFD_CLOEXEC, 3), "duplicate the socket to node")
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ByteToMessageHandler(NodeEventDecoder()))
                    try channel.pipeline.syncOperations.addHandler(NodeEventHandler(events: sink))
                }
            }
            .withConnectedSocket(raw).get()
        begun()
        await controller.connected { channel.writeAndFlush(NodeFrames.bytes($0), promise: nil) }
        defer { channel.close(promise: nil) }
        for try await event in events { await controller.handle(event) }
    }
}

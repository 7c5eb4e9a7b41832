// Accepts connections and hands them to Hummingbird's HTTP/1 channel. Hummingbird's own server cannot take a socket that
// listens already, as the service manager passes one.
import Hummingbird
import HummingbirdCore
import Logging
public import NIOCore
import NIOPosix
import NIOSSL

/// Where a listener gets its connections.
public enum ListenAddress: Sendable {
    /// Port 0 picks one.
    case host(String, port: Int)
    /// A unix socket of at most 107 bytes.
    case path(String)
    /// A socket that listens already; the listener takes it over.
    case passed(Int32)

    /// As given; what connections to a passed socket may call it, they know by its address.
    var host: String {
        if case .host(let host, _) = self { host } else { "localhost" }
    }
}

extension SocketAddress {
    /// 127.0.0.0/8, also as IPv6 has it, and ::1; unix sockets.
    public var isLoopback: Bool {
        guard let ip = ipAddress else { return true }
        return ip.hasPrefix("127.") || ip == "::1" || ip.hasPrefix("::ffff:127.")
    }
}

struct Listener: Sendable {
    let address: ListenAddress
    /// Who gets in when it is full.
    let room: ConnectionRoom
    /// nil: nothing is encrypted.
    let tls: TLSFiles?
    /// How long the reason for which a connection is closed may take to arrive.
    let lingering: TimeAmount
    let group: any EventLoopGroup
    let logger: Logger

    /// Serves until the task is cancelled.
    /// - Parameter listening: called when connections are accepted.
    func serve(_ connection: HTTP1Channel, listening: @Sendable (any Channel) async -> Void) async throws {
        let server = try await listen(connection)
        await listening(server.channel)
        try await withThrowingDiscardingTaskGroup { tasks in
            try await server.executeThenClose { accepted in
                for try await value in accepted {
                    tasks.addTask { await connection.handle(value: value, logger: logger) }
                }
            }
        }
    }

    private func listen(_ connection: HTTP1Channel) async throws -> NIOAsyncChannel<HTTP1Channel.Value, Never> {
        let (room, tls, lingering, logger) = (room, tls, lingering, logger)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(ChannelOptions.backlog, value: 256)
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        AvailableConnectionsChannelHandler(delegate: room))
                }
            }
        let setup: @Sendable (any Channel) -> EventLoopFuture<HTTP1Channel.Value> = { channel in
            guard let tls else { return connection.setup(channel: channel, logger: logger) }
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers(
                    PlainHTTPRefusal(lingering: lingering), NIOSSLServerHandler(context: tls.context))
            }.flatMap { connection.setup(channel: channel, logger: logger) }
        }
        return switch address {
        case .host(let host, let port): try await bootstrap.bind(host: host, port: port, childChannelInitializer: setup)
        case .path(let path):
            try await bootstrap.bind(
                unixDomainSocketPath: path, cleanupExistingSocketFile: true, childChannelInitializer: setup)
        case .passed(let socket): try await bootstrap.bind(socket, childChannelInitializer: setup)
        }
    }
}

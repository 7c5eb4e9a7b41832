// Both listeners of control. Hummingbird's Server is used below its Application, whose date cache would wake an
// idle host every second; the date of a response is made when there is one.
public import ControlPlane
import Glibc
import HTTPTypes
import Hummingbird
import HummingbirdCore
public import Logging
public import NIOCore
import ServiceLifecycle

/// The HTTP side of a control plane.
public struct Gateway: Sendable {
    private let control: any ControlService
    private let group: any EventLoopGroup
    private let limits: ConnectionLimits
    private let logger: Logger

    public init(
        control: any ControlService, group: any EventLoopGroup, limits: ConnectionLimits = ConnectionLimits(),
        logger: Logger
    ) {
        (self.control, self.group, self.limits) = (control, group, limits)
        // The server says more of itself than anyone wants to read.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .error)
        self.logger = quiet
    }

    /// Serves inference until the task is cancelled.
    /// - Parameters:
    ///   - host: address to listen on.
    ///   - port: 0 picks one.
    ///   - listening: called with the port when connections are accepted.
    public func serveInference(
        host: String, port: Int, listening: @escaping @Sendable (Int) async -> Void
    ) async throws {
        let router = Router(context: GatewayContext.self)
        router.add(middleware: ErrorMiddleware())
        router.add(middleware: AccessMiddleware(rule: AccessRule(listen: host)))
        InferenceRoutes(control: control).add(to: router)
        try await serve(router.buildResponder(), .hostname(host, port: port), admits: { _ in true }) { channel in
            await listening(channel.localAddress?.port ?? port)
        }
    }

    /// Serves administration and inference on a unix socket until the task is cancelled.
    /// - Parameters:
    ///   - path: at most 107 bytes.
    ///   - listening: called when connections are accepted.
    public func serveAdministration(path: String, listening: @escaping @Sendable () async -> Void) async throws {
        let router = Router(context: GatewayContext.self)
        router.add(middleware: ErrorMiddleware())
        InferenceRoutes(control: control).add(to: router)
        AdminRoutes(control: control).add(to: router)
        let responder = router.buildResponder()
        try await serve(responder, .unixDomainSocket(path: path), admits: PeerCredentials.mayAdminister) { _ in
            chmod(path, 0o600)
            await listening()
        }
    }

    private func serve(
        _ responder: some HTTPResponder<GatewayContext>, _ address: BindAddress,
        admits: @escaping @Sendable (any Channel) async -> Bool,
        listening: @escaping @Sendable (any Channel) async -> Void
    ) async throws {
        let (limits, logger) = (limits, logger)
        let room = ConnectionRoom(limit: limits.connections, rest: limits.rest)
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [ConnectionSetup(limits, room)],
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: ConnectionLimits.longestHeader, maxHeaderListSize: ConnectionLimits.longestHeaders,
                maxHeaderFieldCount: ConnectionLimits.mostHeaders))
        let server = try HTTPServerBuilder.http1(configuration: configuration).buildServer(
            configuration: ServerConfiguration(address: address, availableConnectionsDelegate: room),
            eventLoopGroup: group, logger: logger
        ) { request, writer, channel in
            var response: Response
            if await admits(channel) {
                let context = GatewayContext(source: ApplicationRequestContextSource(channel: channel, logger: logger))
                response = try await responder.respond(to: request, context: context)
            } else {
                response = APIError(status: .forbidden, message: "another user's daemon", code: "forbidden").response
            }
            response.headers[.date] = Self.date()
            try await writer.write(response: response.head, body: response.body)
        } onServerRunning: { channel in
            await listening(channel)
        }
        try await server.run()
    }

    /// The time in the form of RFC 9110.
    static func date() -> String {
        var now = time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let text = buffer.baseAddress else { return "" }
            strftime(text, buffer.count, "%a, %d %b %Y %H:%M:%S GMT", &parts)
            return String(cString: text)
        }
    }
}

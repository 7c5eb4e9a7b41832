// Both listeners of control. Hummingbird's parts are used below its Application, whose date cache would wake an idle host
// every second (the date of a response is made when there is one), and below its Server, see Listener.
public import ControlPlane
import Glibc
import HTTPTypes
import Hummingbird
import HummingbirdCore
public import Logging
public import NIOCore
import Wire

/// The HTTP side of a control plane.
public struct Gateway: Sendable {
    public let requests = RequestsUnderWay()
    private let metrics = RequestMetrics()
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
    ///   - tls: the files for HTTPS; nil: HTTP.
    ///   - isOpen: whether other hosts need no key as long as there is no tenant.
    ///   - listening: called with the local address when connections are accepted.
    public func serveInference(
        _ address: ListenAddress, tls: TLSFiles? = nil, isOpen: Bool = true,
        listening: @escaping @Sendable (SocketAddress?) async -> Void
    ) async throws {
        let router = Router(context: GatewayContext.self)
        router.add(middleware: ErrorMiddleware(metrics: metrics))
        router.add(middleware: AccessMiddleware(rule: AccessRule(listen: address.host, isEncrypted: tls != nil)))
        router.add(
            middleware: KeyMiddleware(
                control: control, isOpen: isOpen, administration: administration,
                metrics: MetricsRoute(control: control, metrics: metrics)))
        InferenceRoutes(control: control, metrics: metrics).add(to: router)
        try await serve(router.buildResponder(), address, tls: tls, admits: { _ in true }) { channel in
            await listening(channel.localAddress)
        }
    }

    /// Serves administration and inference on a unix socket until the task is cancelled.
    /// - Parameters:
    ///   - group: members of it may connect, beside root and this process's user.
    ///   - listening: called when connections are accepted.
    public func serveAdministration(
        _ address: ListenAddress, group: UInt32? = nil, listening: @escaping @Sendable () async -> Void
    ) async throws {
        try await serve(administration, address, admits: { await PeerCredentials.mayAdminister($0, group: group) }) {
            _ in
            if case .path(let path) = address {
                if let group { chown(path, uid_t.max, group) }
                chmod(path, group == nil ? 0o600 : 0o660)
            }
            await listening()
        }
    }

    /// All that there is.
    private var administration: RouterResponder<GatewayContext> {
        let router = Router(context: GatewayContext.self)
        router.add(middleware: ErrorMiddleware(metrics: metrics))
        InferenceRoutes(control: control, metrics: metrics).add(to: router)
        MetricsRoute(control: control, metrics: metrics).add(to: router)
        AdminRoutes(control: control).add(to: router)
        TenantRoutes(control: control).add(to: router)
        FeedRoutes(control: control).add(to: router)
        return router.buildResponder()
    }

    private func serve(
        _ responder: some HTTPResponder<GatewayContext>, _ address: ListenAddress, tls: TLSFiles? = nil,
        admits: @escaping @Sendable (any Channel) async -> Bool,
        listening: @escaping @Sendable (any Channel) async -> Void
    ) async throws {
        let (limits, logger, requests, metrics) = (limits, logger, requests, metrics)
        let room = ConnectionRoom(limit: limits.connections, rest: limits.rest)
        let connection = HTTP1Channel(
            responder: { request, writer, channel in
                let id = RequestID.of(request.headers)
                let isServed = requests.begin()
                defer { if isServed { requests.end() } }
                var response: Response
                var caller = Caller.local
                if !isServed {
                    response = APIError.ending.response
                } else if await admits(channel) {
                    let source = ApplicationRequestContextSource(channel: channel, logger: logger)
                    let context = GatewayContext(source: source)
                    response = try await RequestID.$current.withValue(id) {
                        try await responder.respond(to: request, context: context)
                    }
                    caller = context.caller
                } else {
                    response = APIError.notAdmitted.response
                }
                metrics.answered(response.status.code, caller)
                response.headers[.date] = Self.date()
                if let name = HTTPField.Name.requestID { response.headers[name] = id?.text }
                try await writer.write(response: response.head, body: response.body)
            },
            configuration: HTTP1Channel.Configuration(
                additionalChannelHandlers: [ConnectionSetup(limits, room, isEncrypted: tls != nil)],
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: ConnectionLimits.longestHeader,
                    maxHeaderListSize: ConnectionLimits.longestHeaders,
                    maxHeaderFieldCount: ConnectionLimits.mostHeaders)))
        try await Listener(
            address: address, room: room, tls: tls, lingering: limits.lingering, group: group, logger: logger
        ).serve(connection, listening: listening)
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

// GET /metrics: on the administration's socket, for an admin key or one for metrics, and on a box without keys for this host.
import ControlPlane
import FunctionModel
import HTTPTypes
import Hummingbird
import Observability
import NIOCore

struct MetricsRoute: Sendable {
    private static let path = "/metrics"
    let control: any ControlService
    let metrics: RequestMetrics

    func add(to router: Router<GatewayContext>) {
        router.route(Self.path, [.get: { _, _ in await response() }])
    }

    /// Whether a request asks for this and nothing else.
    static func isAsked(_ request: Request) -> Bool { request.method == .get && request.uri.path == path }

    /// Whether a request comes from this host; through a proxy on this host all do.
    static func isLocal(_ channel: any Channel) -> Bool {
        guard let ip = channel.remoteAddress?.ipAddress else { return false }
        return ip.hasPrefix("127.") || ip == "::1" || ip.hasPrefix("::ffff:127.")
    }

    func response() async -> Response {
        let requests = metrics.families(tenants: control.tenants.reports.map(\.name))
        let text = Exposition.text(await control.metrics() + requests)
        return Response(
            status: .ok, headers: [.contentType: Exposition.mediaType],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}

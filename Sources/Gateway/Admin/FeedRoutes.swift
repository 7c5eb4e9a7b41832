// What happens, and control's log, as lines of JSON: those that are kept, and with ?follow=true all that come.
import ControlPlane
import FoundationEssentials
import FunctionModel
import HTTPTypes
import Hummingbird
import NIOCore

struct FeedRoutes: Sendable {
    let control: any ControlService

    func add(to router: Router<GatewayContext>) {
        router.route(
            "/admin/events",
            [.get: { request, context in try await Self.lines(control.events.feed, request, context) { _ in true } }])
        router.route(
            "/admin/logs",
            [
                .get: { request, context in
                    let name = request.uri.queryParameters["function"].map(String.init)
                    return try await Self.lines(control.logs, request, context) { name.map($0.concerns) ?? true }
                }
            ])
    }

    private static func lines<Element: Encodable & Sendable>(
        _ feed: Feed<Element>, _ request: Request, _ context: GatewayContext,
        where isWanted: @escaping @Sendable (Element) -> Bool
    ) async throws -> Response {
        let headers: HTTPFields = [.contentType: "application/x-ndjson", .cacheControl: "no-cache"]
        guard request.uri.queryParameters["follow"] == "true" else {
            let lines = try feed.latest.filter(isWanted).reduce(into: "") { $0 += try line($1) }
            return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: lines)))
        }
        guard let watch = await context.watchClient() else { throw APIError.clientGone }
        let (elements, stop) = feed.follow()
        watch.onLeave(stop)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                defer {
                    watch.clear()
                    stop()
                }
                for await element in elements where isWanted(element) {
                    try await writer.write(ByteBuffer(string: line(element)))
                }
                try await writer.finish(nil)
            })
    }

    private static func line(_ element: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(element), as: UTF8.self) + "\n"
    }
}

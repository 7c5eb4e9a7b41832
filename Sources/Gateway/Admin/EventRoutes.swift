// What happens, as lines of JSON: those that are kept, and with ?follow=true all that come.
import ControlPlane
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

struct EventRoutes: Sendable {
    let control: any ControlService

    func add(to router: Router<GatewayContext>) {
        router.route(
            "/admin/events",
            [.get: { request, context in try await Self.lines(control.events.feed, request, context) }])
    }

    private static func lines(
        _ feed: Feed<some Encodable & Sendable>, _ request: Request, _ context: GatewayContext
    ) async throws -> Response {
        let headers: HTTPFields = [.contentType: "application/x-ndjson", .cacheControl: "no-cache"]
        guard request.uri.queryParameters["follow"] == "true" else {
            let lines = try feed.latest.reduce(into: "") { $0 += try line($1) }
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
                for await element in elements { try await writer.write(ByteBuffer(string: line(element))) }
                try await writer.finish(nil)
            })
    }

    private static func line(_ element: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(element), as: UTF8.self) + "\n"
    }
}

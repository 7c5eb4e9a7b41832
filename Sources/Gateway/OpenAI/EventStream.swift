// Server-sent events as OpenAI sends them: one `data:` line per object, and `[DONE]` at the end.
import HTTPTypes
import Hummingbird
import NIOCore
import Wire

struct EventStream {
    private var writer: any ResponseBodyWriter

    /// A response whose body `body` writes.
    /// - Parameter firstToken: what its first token took, for the head.
    static func response(
        after firstToken: FirstToken?, _ body: @escaping @Sendable (inout EventStream) async throws -> Void
    ) -> Response {
        var headers: HTTPFields = [
            .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
        ]
        headers.add(firstToken)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var stream = EventStream(writer: writer)
                try await body(&stream)
                try await stream.writer.finish(nil)
            })
    }

    /// Sends objects together.
    mutating func send(_ objects: [JSONValue]) async throws {
        guard !objects.isEmpty else { return }
        try await writer.write(ByteBuffer(string: objects.map { "data: \($0.text)\n\n" }.joined()))
    }

    mutating func done() async throws { try await writer.write(ByteBuffer(string: "data: [DONE]\n\n")) }
}

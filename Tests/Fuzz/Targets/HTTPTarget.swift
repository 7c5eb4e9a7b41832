// The bytes of a connection through NIO's decoder and the gateway's own handlers, with an answer to each request.
import NIOCore
import NIOEmbedded
import NIOHTTP1

@testable import Gateway

extension FuzzTarget {
    /// What a client sends; at each record separator it falls silent for twenty seconds.
    static let http = FuzzTarget("http", longest: 4096) { bytes in
        let channel = EmbeddedChannel()
        let pipeline = channel.pipeline.syncOperations
        do {
            try channel.connect(to: SocketAddress(unixDomainSocketPath: "/fuzz")).wait()
            try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false, withErrorHandling: false)
            try pipeline.addHandler(ConnectionSetup(ConnectionLimits(), ConnectionRoom(limit: 1, rest: .seconds(5))))
            try pipeline.addHandler(Answering())
        } catch {
            fatalError("the pipeline: \(error)")
        }
        for piece in bytes.split(separator: 0x1E, omittingEmptySubsequences: false) {
            guard channel.isActive, (try? channel.writeInbound(ByteBuffer(bytes: piece))) != nil else { break }
            channel.embeddedEventLoop.advanceTime(by: .seconds(20))
        }
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }
}

/// Looks at each head as the routes do, and answers behind each request.
private final class Answering: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let rule = AccessRule(listen: "[::1]")

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            _ = rule.refusal(
                host: head.headers.first(name: "Host"), origin: head.headers.first(name: "Origin"), local: "127.0.0.1")
            for part in head.uri.split(separator: "/") { _ = part.percentDecoded }
        case .body: break
        case .end:
            let head = HTTPResponseHead(
                version: .http1_1, status: .ok, headers: ["Content-Length": "0", "Content-Type": "text/event-stream"])
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

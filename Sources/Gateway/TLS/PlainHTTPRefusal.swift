// Who speaks plain HTTP to a port of HTTPS is told so, as nginx does, instead of being cut off. The first byte decides: that of
// a handshake is no letter, that of a request is.
import HTTPTypes
import NIOCore

/// Stands before TLS until the first byte has come.
final class PlainHTTPRefusal: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let lingering: TimeAmount
    private var isRefused = false

    /// - Parameter lingering: how long the answer may take to arrive.
    init(lingering: TimeAmount) { self.lingering = lingering }

    private static let answer = {
        let error = APIError(
            status: .badRequest,
            message: "the plain HTTP request was sent to an HTTPS port; begin the URL with https://", code: "plain_http"
        )
        let body = error.body.text + "\n"
        return ByteBuffer(
            string:
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n"
                + "Connection: close\r\n\r\n" + body)
    }()

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What still comes is read and forgotten: a connection closed over it would take the answer with it.
        guard !isRefused else { return }
        let first = unwrapInboundIn(data).readableBytesView.first ?? 0
        guard (0x41...0x5A).contains(first) || (0x61...0x7A).contains(first) else {
            context.fireChannelRead(data)
            return context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        }
        isRefused = true
        context.writeAndFlush(wrapOutboundOut(Self.answer), promise: nil)
        context.close(mode: .output, promise: nil)
        let channel = context.channel
        context.eventLoop.scheduleTask(in: lingering) { channel.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard isRefused else { return context.fireUserInboundEventTriggered(event) }
        if case ChannelEvent.inputClosed = event { context.close(promise: nil) }
    }
}

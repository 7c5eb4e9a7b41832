// What a connection does beside carrying requests: it is closed when its client says nothing for too long, or takes too
// long over one request a byte at a time, and the request under way hears when its client is gone.
//
//     socket ─► IdleStateHandler ─► (PlainHTTPRefusal ─► TLS) ─► ByteWatch ─► HTTP decoder ─► ConnectionHandler ─► Hummingbird
//
// Below the decoder only, a head that came in half is seen at all; behind it only, where a request ends.
import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOTLS

/// Puts the others in their places, which Hummingbird's configuration cannot name.
final class ConnectionSetup: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny
    private let limits: ConnectionLimits
    private let room: ConnectionRoom
    private let isEncrypted: Bool

    init(_ limits: ConnectionLimits, _ room: ConnectionRoom, isEncrypted: Bool = false) {
        (self.limits, self.room, self.isEncrypted) = (limits, room, isEncrypted)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let pipeline = context.pipeline.syncOperations
        do {
            let connection = ConnectionHandler(limits, room, isEncrypted: isEncrypted)
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(connection, position: .after(decoder))
            try pipeline.addHandler(
                ByteWatch { [unowned connection] in connection.bytesCame() }, position: .before(decoder))
            try pipeline.addHandler(
                IdleStateHandler(readTimeout: limits.request, allTimeout: limits.idle), position: .first)
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }
}

/// Tells that something came, whatever it was.
final class ByteWatch: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private let came: () -> Void

    init(_ came: @escaping () -> Void) { self.came = came }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        came()
        context.fireChannelRead(data)
    }
}

final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State: Equatable {
        /// Nothing ever came.
        case fresh
        /// A request's head came in part.
        case head
        case body
        /// All requests are whole, their answers are not.
        case answering
        /// Between two requests. Part of the next may be here already, if it came together with the one before.
        case idle
    }
    /// How far the answer is that is being given.
    private enum Answer {
        case none
        case begun
        case stream
    }

    let watch = ClientWatch()
    private var state = State.fresh
    private var answer = Answer.none
    /// Clients may send a request before they have the answer to the one before.
    private var unanswered = 0
    private var knowsContinue = false
    private let limits: ConnectionLimits
    private let room: ConnectionRoom
    private let isEncrypted: Bool
    /// Runs while a request has come in part, and until the TLS handshake is done.
    private var deadline: Scheduled<Void>?

    init(_ limits: ConnectionLimits, _ room: ConnectionRoom, isEncrypted: Bool = false) {
        (self.limits, self.room, self.isEncrypted) = (limits, room, isEncrypted)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        room.waits(context.channel)
        guard isEncrypted else { return }
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: limits.request) { context.close(promise: nil) }
    }

    /// Called before the decoder sees them.
    func bytesCame() { if state == .fresh || state == .idle { state = .head } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            state = .body
            stopClock()
            unanswered += 1
            knowsContinue = (head.version.major, head.version.minor) >= (1, 1)
        case .body: break
        case .end:
            state = .answering
            stopClock()
            room.waitsNoMore(context.channel)
        }
        context.fireChannelRead(data)
    }

    /// What has come so far has been seen; a request that came whole needs no clock.
    func channelReadComplete(context: ChannelHandlerContext) {
        if deadline == nil, state == .head || state == .body {
            let time = state == .head ? limits.request : limits.body
            deadline = context.eventLoop.assumeIsolated().scheduleTask(in: time) { self.refuse(context, isFinal: true) }
        }
        context.fireChannelReadComplete()
    }

    private func stopClock() {
        deadline?.cancel()
        deadline = nil
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            let isStream = head.headers.first(name: "Content-Type")?.hasPrefix("text/event-stream") == true
            answer = isStream ? .stream : .begun
        case .body: break
        case .end:
            answer = .none
            unanswered -= 1
            // An answer may be sent before its request has ended.
            if state == .answering, unanswered == 0 {
                state = .idle
                room.waits(context.channel)
            }
            // Nothing that follows a head that is none can be understood. The answer has a moment to arrive.
            if state == .head, unanswered < 0 {
                let channel = context.channel
                context.eventLoop.scheduleTask(in: limits.lingering) { channel.close(promise: nil) }
            }
        }
        context.write(data, promise: promise)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let event as IdleStateHandler.IdleStateEvent: idled(context, event)
        case TLSUserEvent.handshakeCompleted:
            stopClock()
            context.fireUserInboundEventTriggered(event)
        case ChannelEvent.inputClosed:
            if state == .answering { probe(context) }
            context.fireUserInboundEventTriggered(event)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        stopClock()
        room.waitsNoMore(context.channel)
        watch.left()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        watch.left()
        context.fireErrorCaught(error)
    }

    private func idled(_ context: ChannelHandlerContext, _ event: IdleStateHandler.IdleStateEvent) {
        switch (state, event) {
        case (.fresh, .read), (.idle, .all): context.close(promise: nil)
        case (.head, .read), (.body, .read): refuse(context)
        default: break
        }
    }

    /// - Parameter isFinal: it had all its time, not only a pause.
    private func refuse(_ context: ChannelHandlerContext, isFinal: Bool = false) {
        // Others are answered first.
        if unanswered > 1, !isFinal { return }
        // Too late for another answer.
        if answer != .none || state == .body && unanswered == 0 || unanswered > 1 || unanswered < 0 {
            return context.close(promise: nil)
        }
        let part = state == .head ? "head" : "body"
        let error = APIError(
            status: .requestTimeout, message: "the rest of the request's \(part) did not come", code: "timeout")
        let body = ByteBuffer(string: error.body.text + "\n")
        var head = HTTPResponseHead(version: .http1_1, status: .requestTimeout)
        head.headers.add(name: "Content-Type", value: "application/json")
        head.headers.add(name: "Content-Length", value: "\(body.readableBytes)")
        head.headers.add(name: "Connection", value: "close")
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.close(promise: nil)
    }

    /// The client sends no more. It may still read (`nc -N`), or be gone: TCP tells only whoever sends it something,
    /// by a reset that ends the connection. So it is sent what every client passes over: an interim response before
    /// the answer, a comment within a stream of events. HTTP/1.0 knows no interim responses; there a client that is
    /// gone is noticed when its answer begins.
    private func probe(_ context: ChannelHandlerContext) {
        switch answer {
        case .none where knowsContinue:
            let head = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        case .stream:
            context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: ":\n\n")))), promise: nil)
        case .none, .begun: break
        }
    }
}

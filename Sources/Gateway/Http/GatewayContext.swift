// What a handler knows of its request beside the request: the connection, and whether the client has left it.
import Hummingbird
import HummingbirdCore
import NIOCore
import Synchronization

/// The context of the gateway's routes.
struct GatewayContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    let body = BodyState()

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// What tells whether the client leaves; nil when it has left already.
    func watchClient() async -> ClientWatch? {
        try? await channel.pipeline.handler(type: ClientWatchHandler.self).map(\.watch).get()
    }
}

/// Tells the request under way on a connection that its client has left.
final class ClientWatch: Sendable {
    private enum State {
        case idle
        case watching(@Sendable () -> Void)
        case gone
    }
    private let state = Mutex(State.idle)

    /// One request at a time is under way on a connection; the newest is told.
    func onLeave(_ body: @escaping @Sendable () -> Void) {
        let isGone = state.withLock { state in
            if case .gone = state { return true }
            state = .watching(body)
            return false
        }
        if isGone { body() }
    }

    func clear() {
        state.withLock { if case .watching = $0 { $0 = .idle } }
    }

    fileprivate func left() {
        let body = state.withLock { state -> (@Sendable () -> Void)? in
            defer { state = .gone }
            if case .watching(let body) = state { return body }
            return nil
        }
        body?()
    }
}

/// Sees the client close its side, also while nothing is written to it; Hummingbird itself would notice only at
/// the next write, and its own helper ends the connection with each request.
final class ClientWatchHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny
    let watch = ClientWatch()

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .some(.inputClosed) = event as? ChannelEvent { watch.left() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        watch.left()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        watch.left()
        context.fireErrorCaught(error)
    }
}

// What a handler knows of its request beside the request: the connection, and whether the client has left it.
import ControlPlane
import Hummingbird
import NIOCore
import Synchronization

/// Whose a request is, once that is known.
private final class RequestOrigin: Sendable {
    let caller = Mutex(Caller.local)
}

/// The context of the gateway's routes.
struct GatewayContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    let body = BodyState()
    private let origin = RequestOrigin()

    /// Whose the request is; a key says so. The same in all copies.
    var caller: Caller {
        get { origin.caller.withLock { $0 } }
        nonmutating set { origin.caller.withLock { $0 = newValue } }
    }

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// What tells whether the client leaves; nil when it has left already.
    func watchClient() async -> ClientWatch? {
        try? await channel.pipeline.handler(type: ConnectionHandler.self).map(\.watch).get()
    }

    /// The model's name in the request's path.
    func modelName() throws -> String { try name("model") }

    /// A part of the request's path, as it was before it became one.
    func name(_ part: String) throws -> String {
        let text = try parameters.require(part)
        guard let name = text.percentDecoded else {
            throw APIError.badRequest("the name \(text.prefix(200)) in the path is not percent-encoded UTF-8")
        }
        return name
    }
}

// What a handler knows of its request beside the request: the connection, and whether the client has left it.
import Hummingbird
import NIOCore

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
        try? await channel.pipeline.handler(type: ConnectionHandler.self).map(\.watch).get()
    }

    /// The name in the request's path, as it was before it became a part of a URL.
    func modelName() throws -> String {
        let text = try parameters.require("model")
        guard let name = text.percentDecoded else {
            throw APIError.badRequest("the name \(text.prefix(200)) in the path is not percent-encoded UTF-8")
        }
        return name
    }
}

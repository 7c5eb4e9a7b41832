// What holds for every request, around the routes: foreign pages are turned away, and every error, also those of
// the framework, leaves in one form.
import ControlPlane
import FunctionModel
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// Checks Host and Origin.
struct AccessMiddleware: RouterMiddleware {
    typealias Context = GatewayContext
    let rule: AccessRule

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        // The first is the authority; another one somebody else may have gone by.
        if let host = HTTPField.Name("Host"), request.headers.contains(host) {
            throw APIError(status: .badRequest, message: "the request names more than one Host", code: "bad_request")
        }
        if let refusal = rule.refusal(
            host: request.head.authority, origin: request.headers[.origin],
            local: context.channel.localAddress?.ipAddress)
        {
            throw APIError(status: .forbidden, message: refusal, code: "forbidden")
        }
        return try await next(request, context)
    }
}

/// Finds out whose a request is, by the key in it. What only the operator may reach has a router of its own: for everybody
/// else there is nothing at those paths, and no rule about paths that could be wrong.
struct KeyMiddleware: RouterMiddleware {
    typealias Context = GatewayContext
    let control: any ControlService
    /// Whether other hosts need no key as long as there is no tenant.
    let isOpen: Bool
    /// Everything, as the administration socket has it.
    let administration: RouterResponder<GatewayContext>
    let metrics: MetricsRoute

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        // Whether the daemon lives is no secret.
        if request.uri.path == "/health" { return try await next(request, context) }
        let key = Self.key(request.headers[.authorization])
        switch try access(key) {
        case .models(.local) where MetricsRoute.isAsked(request) && MetricsRoute.isLocal(context.channel):
            return await metrics.response()
        case .models(let caller):
            // The last tenant may be removed while it listens.
            if !isOpen, caller == .local, context.channel.localAddress?.isLoopback == false {
                throw refused(
                    ControlFailure(
                        code: "unauthorized",
                        message: "this box has no tenant, so there is no key that would do; its operator makes one with "
                            + "`locum tenant create`"), key)
            }
            context.caller = caller
            return try await next(request, context)
        case .keyed(.admin): return try await administration.respond(to: request, context: context)
        case .keyed(.metrics):
            // Shown for anything else it is no key.
            guard MetricsRoute.isAsked(request) else { throw refused(Tenants.wrongKey, key) }
            return await metrics.response()
        }
    }

    private func access(_ key: String?) throws -> Access {
        do throws(ControlFailure) { return try control.access(showing: key) } catch { throw refused(error, key) }
    }

    private func refused(_ failure: ControlFailure, _ key: String?) -> ControlFailure {
        metrics.metrics.refusedKey(isMissing: key == nil)
        return failure
    }

    /// The token of `Bearer TOKEN` (RFC 6750).
    private static func key(_ field: String?) -> String? {
        guard let field, let blank = field.firstIndex(of: " "), field[..<blank].lowercased() == "bearer" else {
            return nil
        }
        let key = field[field.index(after: blank)...].drop { $0 == " " }
        return key.isEmpty ? nil : String(key)
    }
}

/// Turns errors into responses.
struct ErrorMiddleware: RouterMiddleware {
    typealias Context = GatewayContext
    let metrics: RequestMetrics

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let isStranger = (error as? ControlFailure)?.code == "unauthorized"
            await request.discardBody(context, most: isStranger ? Request.longestOfStranger : Request.longestDiscarded)
            return response(to: error, request, context)
        }
    }

    private func response(to error: any Error, _ request: Request, _ context: Context) -> Response {
        switch error {
        case let error as APIError:
            if error.status == .tooManyRequests { metrics.refused(error.code ?? "other", context.caller) }
            return error.response
        case let error as ControlFailure:
            return response(to: APIError(error), request, context)
        case let error as HTTPError where error.status == .notFound:
            let path = String(request.uri.path.prefix(200))
            return APIError(status: .notFound, message: "there is nothing at \(path)", code: "unknown_path").response
        case let error as any HTTPResponseError:
            return APIError(status: error.status, message: error.status.reasonPhrase).response
        default:
            context.logger.error("a request failed", metadata: ["path": "\(request.uri.path)", "error": "\(error)"])
            return APIError(
                status: .internalServerError, message: "an error inside Locum; its log says more", type: "server_error",
                code: "internal"
            ).response
        }
    }
}

extension Router where Context == GatewayContext {
    private static var methods: [HTTPRequest.Method] { [.get, .head, .post, .put, .delete, .patch, .options] }

    /// Adds a route; the methods that it lacks answer 405 and say which it has.
    func route(
        _ path: String, _ handlers: [HTTPRequest.Method: @Sendable (Request, GatewayContext) async throws -> Response]
    ) {
        let allowed = handlers.keys.map(\.rawValue).sorted().joined(separator: ", ")
        for method in Self.methods {
            on(RouterPath(path), method: method) { request, context async throws -> Response in
                if let handler = handlers[method] { return try await handler(request, context) }
                var error = APIError(
                    status: .methodNotAllowed, message: "\(method.rawValue) is not allowed at \(path), only \(allowed)",
                    code: "method_not_allowed")
                error.headers[.allow] = allowed
                throw error
            }
        }
    }
}

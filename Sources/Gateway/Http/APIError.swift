// Errors as OpenAI's API words them: status, type, code, and the parameter that is wrong. One type that knows how
// to become a response, so that no handler writes one by hand.
import ControlPlane
import FunctionModel
import HTTPTypes
import Hummingbird
import NIOCore
import Wire

/// A request that gets an error for an answer.
struct APIError: Error, Sendable, Equatable {
    var status: HTTPResponse.Status
    var message: String
    var type = "invalid_request_error"
    var param: String?
    var code: String?
    var headers: HTTPFields = [:]

    static func badRequest(_ message: String) -> APIError { APIError(status: .badRequest, message: message) }

    static func badParameter(_ param: String, _ message: String, code: String? = nil) -> APIError {
        APIError(status: .badRequest, message: message, param: param, code: code)
    }

    static func modelNotFound(_ message: String) -> APIError {
        APIError(status: .notFound, message: message, param: "model", code: "model_not_found")
    }

    /// Whoever connects to the administration's socket is nobody who may.
    static let notAdmitted = APIError(
        status: .forbidden,
        message: "you may not administer this daemon; its own user, root, and for a service members of its group may",
        code: "forbidden")

    /// The daemon lets only those requests finish that it has.
    static let ending = {
        var error = APIError(code: "draining", parameter: "", message: "this daemon is about to end; try again soon")
        error.headers[.connection] = "close"
        return error
    }()

    /// The client is gone; nobody reads this.
    static let clientGone = APIError(
        status: .init(code: 499), message: "the client closed the connection", code: "client_gone")

    /// Why a sequence failed; nil for every other event.
    init?(_ event: RouterEvent) {
        guard case .failed(let code, let parameter, let message) = event else { return nil }
        self.init(code: code, parameter: parameter, message: message)
    }

    /// What control refused.
    init(_ failure: ControlFailure) {
        self.init(code: failure.code, parameter: "", message: failure.message)
        if let seconds = failure.retryAfter { headers[.retryAfter] = String(seconds) }
    }

    /// What a sequence failed with.
    init(code: String, parameter: String, message: String) {
        self.init(status: .internalServerError, message: message, type: "server_error", code: code)
        if !parameter.isEmpty { param = parameter }
        switch code {
        case "not_found": self = .modelNotFound(message)
        case "unauthorized":
            (status, type, self.code) = (.unauthorized, "invalid_request_error", "invalid_api_key")
            headers[.wwwAuthenticate] = "Bearer"
        case "rate_limited":
            (status, type, self.code) = (.tooManyRequests, "rate_limit_error", "rate_limit_exceeded")
        case "exists", "in_use": (status, type) = (.conflict, "invalid_request_error")
        case "queue_full":
            (status, type, self.code) = (.tooManyRequests, "rate_limit_error", "queue_full")
            headers[.retryAfter] = "1"
        case "context_length_exceeded", "bad_request", "model_changed":
            (status, type) = (.badRequest, "invalid_request_error")
        case _ where code.hasPrefix("invalid_") || code.hasPrefix("unsupported"):
            (status, type) = (.badRequest, "invalid_request_error")
        case "denied": (status, type) = (.forbidden, "invalid_request_error")
        case "unavailable", "draining", "busy", "crashed", "broken", "lost", "function_failed":
            status = .serviceUnavailable
            headers[.retryAfter] = "1"
        default: break
        }
    }

    init(
        status: HTTPResponse.Status, message: String, type: String = "invalid_request_error", param: String? = nil,
        code: String? = nil
    ) {
        (self.status, self.message, self.type, self.param, self.code) = (status, message, type, param, code)
    }

    /// `{"error": {…}}`.
    var body: JSONValue {
        [
            "error": [
                "message": .string(message), "type": .string(type), "param": .string(orNull: param),
                "code": .string(orNull: code),
            ]
        ]
    }

    var response: Response {
        var response = Response.json(body, status: status)
        for field in headers { response.headers[field.name] = field.value }
        return response
    }
}

extension Response {
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok) -> Response {
        json(text: value.text, status: status)
    }

    static func json(text: String, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text + "\n")))
    }
}

// Reading a request's body, and getting rid of one that nobody wants. A client that is still sending does not read
// the answer, and Hummingbird closes or goes on only behind the body; so an error waits until the body has passed,
// unless it is so long that the client is not worth it.
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// Whether the body of a request has been read to its end.
final class BodyState: Sendable {
    private let taken = Mutex(false)

    /// True for the first caller only.
    func take() -> Bool {
        taken.withLock { taken in
            defer { taken = true }
            return !taken
        }
    }
}

extension Request {
    /// Longest body: a full context of token ids in JSON is far below.
    static let longestBody = 8 << 20
    /// So much of a body that is too long is read and thrown away.
    static let longestDiscarded = 256 << 20
    /// The same of a stranger's.
    static let longestOfStranger = 64 << 10

    /// The body as JSON.
    /// - Throws: `APIError` 415, 413, or 400 naming line and column.
    func jsonBody(_ context: GatewayContext) async throws -> JSONValue {
        let type = headers[.contentType] ?? ""
        let media = type.prefix { $0 != ";" }.lowercased().filter { $0 != " " }
        guard media == "application/json" else {
            throw APIError(
                status: .unsupportedMediaType,
                message: "Content-Type must be application/json, not '\(type.prefix(100))'",
                code: "unsupported_media_type")
        }
        guard let bytes = try await bytes(context) else {
            throw APIError(
                status: .contentTooLarge, message: "the body is longer than \(Self.longestBody) bytes",
                code: "body_too_large")
        }
        do throws(JSONSyntaxError) {
            return try JSONReader.read(bytes)
        } catch {
            throw APIError.badRequest(
                "the body is not JSON: line \(error.line), column \(error.column): \(error.reason)")
        }
    }

    /// Reads the body to its end; nil when it is too long.
    private func bytes(_ context: GatewayContext) async throws -> [UInt8]? {
        guard context.body.take() else { return [] }
        var bytes: [UInt8] = []
        var length = 0
        do {
            for try await part in body {
                length += part.readableBytes
                if length <= Self.longestBody { bytes += part.readableBytesView } else { bytes = [] }
                if length > Self.longestDiscarded { break }
            }
        } catch {
            throw APIError.badRequest("the body cannot be read: \(error)")
        }
        return length <= Self.longestBody ? bytes : nil
    }

    /// Lets a body pass that was not read, and keeps nothing of it.
    func discardBody(_ context: GatewayContext, most: Int = longestDiscarded) async {
        guard context.body.take() else { return }
        var length = 0
        do {
            for try await part in body {
                length += part.readableBytes
                if length > most { break }
            }
        } catch {}
    }
}

// The administration API, on the unix socket and for admin keys: what the CLI uses.
import ControlPlane
import FoundationEssentials
import FunctionModel
import HTTPTypes
import Hummingbird

struct AdminRoutes: Sendable {
    let control: any ControlService

    func add(to router: Router<GatewayContext>) {
        router.route("/admin/models", [.get: { _, _ in try Self.json(await control.models(for: .local)) }])
        router.route(
            "/admin/models/:model",
            [
                .get: { _, context in try Self.json(await control.describe(try context.modelName(), for: .local)) },
                .delete: { _, context in try Self.json(await control.remove(try context.modelName())) },
            ])
        router.route("/admin/instances", [.get: { _, _ in try Self.json(await control.instances()) }])
        router.route(
            "/admin/evict",
            [
                .post: { request, context in
                    guard let target = try RequestFields(await request.jsonBody(context)).string("target") else {
                        throw APIError.badParameter("target", "'target' is missing: --all, a model, or a function")
                    }
                    return try Self.json(await control.evict(target))
                }
            ])
        router.route("/admin/status", [.get: { _, _ in try Self.json(await control.status()) }])
        router.route(
            "/admin/usage",
            [
                .get: { request, _ in
                    try Self.json(
                        await control.usage(
                            tenant: request.uri.queryParameters["tenant"].map(String.init),
                            from: Self.seconds("from", request), to: Self.seconds("to", request)))
                }
            ])
        router.route(
            "/admin/usage/hours",
            [
                .get: { request, _ in try Self.json(await control.usageHours(from: Self.seconds("from", request) ?? 0))
                },
                .put: { request, context in
                    let hours = try RequestFields(await request.jsonBody(context)).objects("hours") ?? []
                    try await control.restore(hours.map { hour throws(APIError) in try UsageHour(hour) })
                    return try Self.json(["restored": hours.count])
                },
            ])
        router.route("/admin/backup", [.get: { _, _ in try Self.json(await control.backup()) }])
        router.route("/admin/verify", [.post: { _, _ in try Self.json(await control.verify()) }])
    }

    private static func seconds(_ name: Substring, _ request: Request) throws(APIError) -> Int64? {
        guard let text = request.uri.queryParameters[name] else { return nil }
        guard let value = Int64(text), value >= 0 else {
            throw .badParameter(String(name), "'\(name)' is '\(text.prefix(100))', it must be seconds since 1970")
        }
        return value
    }

    static func json(_ value: some Encodable) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return .json(text: String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}

extension UsageHour {
    /// As `locum restore` sends it.
    fileprivate init(_ fields: RequestFields) throws(APIError) {
        func text(_ key: CodingKeys) throws(APIError) -> String {
            guard let text = try fields.string(key.rawValue) else { throw fields.wrong(key.rawValue, "a string") }
            return text
        }
        func number(_ key: CodingKeys) throws(APIError) -> Int64 {
            guard let number = try fields.integer(key.rawValue, in: 0...Int64.max) else {
                throw fields.wrong(key.rawValue, "an integer")
            }
            return number
        }
        var counts = UsageCounts()
        (counts.requests, counts.promptTokens) = (try number(.requests), try number(.promptTokens))
        (counts.cachedTokens, counts.outputTokens) = (try number(.cachedTokens), try number(.outputTokens))
        counts.expertMicroseconds = try number(.expertMicroseconds)
        counts.kilobyteMilliseconds = try number(.kilobyteMilliseconds)
        counts.coldStarts = try number(.coldStarts)
        self.init(
            hour: try number(.hour), UsageKey(tenant: try text(.tenant), model: try text(.model), key: try text(.key)),
            counts)
    }
}

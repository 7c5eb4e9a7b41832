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
                    let query = request.uri.queryParameters
                    func seconds(_ name: Substring) throws(APIError) -> Int64? {
                        guard let text = query[name] else { return nil }
                        guard let value = Int64(text), value >= 0 else {
                            throw .badParameter(
                                String(name), "'\(name)' is '\(text.prefix(100))', it must be seconds since 1970")
                        }
                        return value
                    }
                    return try Self.json(
                        await control.usage(
                            tenant: query["tenant"].map(String.init), from: seconds("from"), to: seconds("to")))
                }
            ])
        router.route("/admin/backup", [.get: { _, _ in try Self.json(await control.backup()) }])
        router.route("/admin/verify", [.post: { _, _ in try Self.json(await control.verify()) }])
    }

    static func json(_ value: some Encodable) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return .json(text: String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}

// Administration of tenants and keys, on the unix socket and for admin keys.
import ControlPlane
import FoundationEssentials
import FunctionModel
import HTTPTypes
import Hummingbird

struct TenantRoutes: Sendable {
    let control: any ControlService
    private var tenants: any TenantAdministration { control.tenants }

    func add(to router: Router<GatewayContext>) {
        router.route(
            "/admin/tenants",
            [
                .get: { _, _ in try AdminRoutes.json(tenants.reports) },
                .post: { request, context in
                    let fields = try RequestFields(await request.jsonBody(context))
                    guard let name = try fields.string("name") else {
                        throw APIError.badParameter("name", "'name' is missing: what the tenant is to be called")
                    }
                    var limits = TenantLimits()
                    try Self.edit(fields)(&limits)
                    return try AdminRoutes.json(tenants.create(name, limits))
                },
            ])
        router.route(
            "/admin/tenants/:name",
            [
                .get: { _, context in try AdminRoutes.json(tenants.report(try context.name("name"))) },
                .patch: { request, context in
                    let edit = try Self.edit(RequestFields(await request.jsonBody(context)))
                    return try AdminRoutes.json(tenants.set(try context.name("name"), edit))
                },
                .put: { request, context in
                    let name = try context.name("name")
                    let tenant = try BackupIndex.Tenant(name, RequestFields(await request.jsonBody(context)))
                    return try AdminRoutes.json(tenants.restore(tenant))
                },
                .delete: { request, context in
                    let withModels = request.uri.queryParameters["models"] == "true"
                    return try AdminRoutes.json(
                        await control.remove(tenant: try context.name("name"), withModels: withModels))
                },
            ])
        router.route(
            "/admin/tenants/:name/keys",
            [.post: { _, context in try AdminRoutes.json(tenants.createKey(for: try context.name("name"))) }])
        router.route(
            "/admin/keys",
            [
                .get: { _, _ in try AdminRoutes.json(tenants.keys) },
                .post: { request, context in
                    let role = try Self.role(RequestFields(await request.jsonBody(context)))
                    return try AdminRoutes.json(tenants.createKey(role))
                },
            ])
        router.route(
            "/admin/keys/:key",
            [
                .put: { request, context in
                    let fields = try RequestFields(await request.jsonBody(context))
                    let key = try KeyRecord(fields, id: context.name("key"))
                    return try AdminRoutes.json(tenants.restore(BackupIndex.Key(key, role: Self.role(fields))))
                },
                .delete: { _, context in try AdminRoutes.json(tenants.revokeKey(try context.name("key"))) },
            ])
    }

    /// - Throws: `APIError` 400.
    private static func role(_ fields: RequestFields) throws(APIError) -> OperatorRole {
        try choice("role", fields.string("role") ?? "")
    }

    /// One of a few words.
    private static func choice<T: CaseIterable & RawRepresentable<String>>(
        _ name: String, _ text: String
    ) throws(APIError) -> T {
        if let choice = T(rawValue: text) { return choice }
        let known = T.allCases.map(\.rawValue).joined(separator: " or ")
        throw .badParameter(name, "'\(name)' is '\(text.prefix(100))', it must be \(known)")
    }

    /// What a request's members change. Null takes a limit away; what is absent stays.
    /// - Throws: `APIError` 400.
    fileprivate static func edit(_ fields: RequestFields) throws(APIError) -> @Sendable (inout TenantLimits) -> Void {
        let weight = try fields.integer("weight", in: range(TenantLimits.weights))
        let most = try limit(fields, "max_requests", TenantLimits.requests)
        let queue = try fields.integer("queue", in: range(TenantLimits.queues))
        let rate = try limit(fields, "tokens_per_minute", TenantLimits.rates)
        let uid = try limit(fields, "uid", TenantLimits.uids)
        let disk = try limit(fields, "disk", TenantLimits.sizes)
        let kvMemory = try limit(fields, "kv_memory", TenantLimits.sizes)
        let memory = try limit(fields, "memory", TenantLimits.sizes)
        let priority: PriorityClass? = try fields.string("priority").map { text throws(APIError) in
            try choice("priority", text)
        }
        let router: RouterSharing? = try fields.string("router").map { text throws(APIError) in
            try choice("router", text)
        }
        let models = try names(fields)
        return { limits in
            if let weight { limits.weight = Int(weight) }
            if let priority { limits.priority = priority }
            if let router { limits.router = router }
            if let most { limits.maxRequests = most.value }
            if let queue { limits.queue = Int(queue) }
            if let rate { limits.tokensPerMinute = rate.value }
            if let models { limits.models = models.value }
            if let uid { limits.uid = uid.value }
            if let disk { limits.disk = disk.value }
            if let memory { limits.memory = memory.value }
            if let kvMemory { limits.kvMemory = kvMemory.value }
        }
    }

    /// A limit that is set; nil in it: there is to be none.
    private struct Limit<Value: Sendable>: Sendable { let value: Value? }

    private static func limit(
        _ fields: RequestFields, _ name: String, _ values: ClosedRange<Int>
    ) throws(APIError) -> Limit<Int>? {
        guard let member = fields.value[name] else { return nil }
        if member == .null { return Limit(value: nil) }
        return Limit(value: try fields.integer(name, in: range(values)).map { Int($0) })
    }

    private static func names(_ fields: RequestFields) throws(APIError) -> Limit<[String]>? {
        guard let member = fields.value["models"] else { return nil }
        if member == .null { return Limit(value: nil) }
        guard case .array(let elements) = member else { throw fields.wrong("models", "an array of names") }
        var names: [String] = []
        for element in elements {
            guard case .string(let name) = element else { throw fields.wrong("models", "an array of names") }
            names.append(name)
        }
        return Limit(value: names)
    }

    private static func range(_ values: ClosedRange<Int>) -> ClosedRange<Int64> {
        Int64(values.lowerBound)...Int64(values.upperBound)
    }
}

extension BackupIndex.Tenant {
    /// As `locum restore` sends it.
    fileprivate init(_ name: String, _ fields: RequestFields) throws(APIError) {
        var limits = TenantLimits()
        if let value = fields["limits"] {
            try TenantRoutes.edit(RequestFields(value, path: "limits"))(&limits)
        }
        var keys: [KeyRecord] = []
        for key in try fields.objects("keys") ?? [] {
            guard let id = try key.string("id") else {
                throw .badParameter(key.path, "'\(key.path)' needs an id and a hash")
            }
            keys.append(try KeyRecord(key, id: id))
        }
        self.init(
            TenantRecord(
                name: name, limits: limits, createdAt: try fields.integer("created_at", in: 0...Int64.max) ?? 0,
                keys: keys))
    }
}

extension KeyRecord {
    /// As `locum restore` sends it.
    fileprivate init(_ fields: RequestFields, id: String) throws(APIError) {
        guard let hash = try fields.string("hash").flatMap(Hexadecimal.bytes) else {
            throw .badParameter(
                fields.path.isEmpty ? "hash" : fields.path, "a key needs an id and its hash, in hexadecimal")
        }
        self.init(id: id, hash: hash, createdAt: try fields.integer("created_at", in: 0...Int64.max) ?? 0)
    }
}

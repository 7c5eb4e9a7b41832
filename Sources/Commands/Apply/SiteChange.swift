// One difference between what a manifest says and what is there, as people and scripts read it.
import FunctionModel
import Wire

/// A line of `locum apply`.
struct SiteChange: Encodable, Equatable {
    enum Action: String, Encodable {
        case add, change, remove
    }
    enum Kind: String, Encodable {
        case model, tenant
    }
    struct Field: Encodable, Equatable {
        let name: String
        let from: String
        let to: String
    }

    let action: Action
    let kind: Kind
    let name: String
    /// What is different.
    var fields: [Field] = []
    /// Of a model: functions whose weights or tables are others.
    var functions: Int?

    var line: String {
        let sign =
            switch action {
            case .add: "+"
            case .change: "~"
            case .remove: "-"
            }
        var parts = fields.map { action == .add ? "\($0.name) \($0.to)" : "\($0.name) \($0.from) -> \($0.to)" }
        if let functions { parts.append("\(functions) \(functions == 1 ? "function" : "functions")") }
        return "\(sign) \(kind.rawValue) \(name)\(parts.isEmpty ? "" : ": " + parts.joined(separator: ", "))\n"
    }

    /// Nil when the tenant is as it is to be.
    init?(_ wanted: SiteManifest.Tenant, there: TenantLimits?) {
        let old = Self.fields(there ?? TenantLimits())
        let fields = zip(old, Self.fields(wanted.limits)).compactMap { old, new in
            old.1 == new.1 ? nil : Field(name: old.0, from: old.1, to: new.1)
        }
        guard there == nil || !fields.isEmpty else { return nil }
        self.init(action: there == nil ? .add : .change, kind: .tenant, name: wanted.name, fields: fields)
    }

    /// Nil when the model is as it is to be.
    /// - Parameter report: of its deployment, be it a dry run.
    init?(_ wanted: DeployOptions, there: DeployRecord?, _ report: DeployReport) {
        guard report.changed else { return nil }
        let standard = DeployOptions(name: wanted.name)
        let old = there.map(Self.fields) ?? Self.fields(standard.record)
        let fields = zip(old, Self.fields(wanted.record)).compactMap { old, new in
            old.1 == new.1 ? nil : Field(name: old.0, from: old.1, to: new.1)
        }
        self.init(
            action: there == nil ? .add : .change, kind: .model, name: wanted.name, fields: fields,
            functions: there == nil ? report.functions : report.functionsChanged)
    }

    init(removing kind: Kind, _ name: String) { self.init(action: .remove, kind: kind, name: name) }

    private init(action: Action, kind: Kind, name: String, fields: [Field] = [], functions: Int? = nil) {
        (self.action, self.kind, self.name, self.fields, self.functions) = (action, kind, name, fields, functions)
    }

    /// By the names that the manifest has for them.
    private static func fields(_ limits: TenantLimits) -> [(String, String)] {
        [
            ("weight", "\(limits.weight)"), ("priority", limits.priority.rawValue),
            ("router", limits.router.rawValue),
            ("max-requests", limits.maxRequests.map { "\($0)" } ?? "unlimited"), ("queue", "\(limits.queue)"),
            ("tokens-per-minute", limits.tokensPerMinute.map { "\($0)" } ?? "unlimited"),
            ("uid", limits.uid.map { "\($0)" } ?? "none"),
            ("disk", limits.disk.map { "\($0)" } ?? "unlimited"),
            ("memory", limits.memory.map { "\($0)" } ?? "unlimited"),
            ("kv-memory", limits.kvMemory.map { "\($0)" } ?? "unlimited"),
            ("models", limits.models.map { "[\($0.joined(separator: ", "))]" } ?? "all"),
        ]
    }

    private static func fields(_ record: DeployRecord) -> [(String, String)] {
        func group(_ count: Int) -> String { count == 0 ? "all" : "\(count)" }
        return [
            ("experts-per-function", group(record.expertsPerFunction)),
            ("layers-per-function", group(record.layersPerFunction)),
            ("quantize", record.quantize.isEmpty ? "none" : record.quantize),
            ("context", record.context == 0 ? "the model's own" : "\(record.context)"), ("kv-type", record.kvType),
        ]
    }
}

extension DeployOptions {
    fileprivate var record: DeployRecord {
        DeployRecord(
            expertsPerFunction: Int(expertsPerFunction), layersPerFunction: Int(layersPerFunction), quantize: quantize,
            context: Int(context), kvType: kvType)
    }
}

// What a box is to serve and to whom, as a file: models with what `locum deploy` would be given, tenants with what `locum tenant
// create` would. It says all: what is left out is the default, not what happens to be there.
//
//     models:
//       - name: tales
//         file: tales-moe
//         experts-per-function: 4
//         tenant: ada          # whose it is; left out: the operator's
//     tenants:
//       - name: ada
//         weight: 3
//         models: [tales]
import FunctionModel
import Settings
import Wire

/// A manifest of models and tenants.
struct SiteManifest: Sendable, Equatable {
    /// A model that is to be deployed.
    struct Model: Sendable, Equatable {
        var options: DeployOptions
        /// As it was written.
        var file: String
        var chatTemplate: String?
        /// Where it stands.
        var line: Int
        /// The tenant whose it is; nil: the operator's.
        var owner: String? { ModelName.owner(of: options.name) }
    }

    /// A tenant that is to be there.
    struct Tenant: Sendable, Equatable {
        var name: String
        var limits: TenantLimits
        var line: Int
    }

    var models: [Model] = []
    var tenants: [Tenant] = []

    /// - Parameter name: what messages call the file.
    /// - Throws: `SettingsError` with all that is wrong, each with its line and field.
    init(_ root: YAML?, name: String) throws(SettingsError) {
        var reader = Reader(name: name)
        guard let root, !root.isNull else { throw SettingsError("\(name) is empty; name models or tenants in it") }
        for (section, line, value) in reader.members(root, "the manifest") where !value.isNull {
            switch section {
            case "models": models = reader.items(value, section).compactMap { reader.model($0, $1) }
            case "tenants": tenants = reader.items(value, section).compactMap { reader.tenant($0, $1) }
            default: reader.fault(line, section, "there is no such section; there are models and tenants")
            }
        }
        reader.checkUnique(models.map { ($0.options.name, $0.line) }, "model")
        reader.checkUnique(tenants.map { ($0.name, $0.line) }, "tenant")
        if reader.problems.isEmpty, models.isEmpty, tenants.isEmpty {
            reader.problems.append("\(name) names neither models nor tenants")
        }
        guard reader.problems.isEmpty else { throw SettingsError(reader.problems) }
    }
}

/// Goes through the tree and collects what is wrong.
private struct Reader {
    let name: String
    var problems: [String] = []

    mutating func fault(_ line: Int, _ field: String, _ what: String) {
        problems.append("\(name):\(line): \(field): \(what)")
    }

    /// The members of a mapping, each once.
    mutating func members(_ node: YAML, _ field: String) -> [(name: String, line: Int, value: YAML)] {
        guard case .map(let pairs) = node.content else {
            fault(node.line, field, reason(node) ?? "must be a mapping of names to values")
            return []
        }
        var lines: [String: Int] = [:]
        return pairs.filter { pair in
            guard let before = lines.updateValue(pair.line, forKey: pair.name) else { return true }
            fault(
                pair.line, "\(field).\(pair.name.prefix(100))", "stands in line \(before) already; remove one of them")
            return false
        }
    }

    /// The items of a section, with what messages call them.
    mutating func items(_ node: YAML, _ field: String) -> [(YAML, String)] {
        guard case .list(let items) = node.content else {
            fault(node.line, field, reason(node) ?? "must be a list; begin each item with a dash")
            return []
        }
        return items.enumerated().map { ($1, "\(field)[\($0)]") }
    }

    mutating func model(_ node: YAML, _ field: String) -> SiteManifest.Model? {
        var model = SiteManifest.Model(options: DeployOptions(name: ""), file: "", line: node.line)
        var owner: String?
        let before = problems.count
        for (member, line, value) in members(node, field) where !value.isNull {
            let place = "\(field).\(member.prefix(100))"
            let known = ["name", "file", "chat-template", "tenant"] + DeployOptions.names
            guard known.contains(member) else {
                fault(line, place, "there is no such field; there are \(known.joined(separator: ", "))")
                continue
            }
            guard let text = text(value, line, place) else { continue }
            switch member {
            case "name":
                model.options.name = text
                if !ModelName.isValid(text) {
                    fault(line, place, "'\(text.prefix(100))' does not fit: \(ModelName.rule)")
                }
            case "tenant":
                owner = text
                if !ModelName.isValid(text) {
                    fault(line, place, "'\(text.prefix(100))' does not fit: \(ModelName.rule)")
                }
            case "file": model.file = text
            case "chat-template": model.chatTemplate = text
            default:
                if let form = model.options.set(member, text) {
                    fault(line, place, "'\(text.prefix(100))' cannot be used; write \(form)")
                }
            }
        }
        guard problems.count == before else { return nil }
        if model.options.name.isEmpty { fault(node.line, field, "its name is missing") }
        if model.file.isEmpty {
            fault(node.line, field, "its file is missing: a folder, a .gguf file, or tales-moe")
        }
        model.options.name = ModelName.full(model.options.name, of: owner)
        return problems.count == before ? model : nil
    }

    mutating func tenant(_ node: YAML, _ field: String) -> SiteManifest.Tenant? {
        var tenant = SiteManifest.Tenant(name: "", limits: TenantLimits(), line: node.line)
        let before = problems.count
        for (member, line, value) in members(node, field) where !value.isNull {
            let place = "\(field).\(member.prefix(100))"
            switch member {
            case "models": tenant.limits.models = names(value, line, place)
            case "name":
                guard let text = text(value, line, place) else { continue }
                tenant.name = text
                if !ModelName.isValid(text) {
                    fault(line, place, "'\(text.prefix(100))' does not fit: \(ModelName.rule)")
                }
            case "priority": choose(&tenant.limits.priority, value, line, place)
            case "router": choose(&tenant.limits.router, value, line, place)
            case "weight": set(&tenant.limits.weight, value, line, place, TenantLimits.weights)
            case "queue": set(&tenant.limits.queue, value, line, place, TenantLimits.queues)
            case "max-requests": limit(&tenant.limits.maxRequests, value, line, place, TenantLimits.requests)
            case "uid": limit(&tenant.limits.uid, value, line, place, TenantLimits.uids, unset: "none")
            case "disk": size(&tenant.limits.disk, value, line, place)
            case "memory": size(&tenant.limits.memory, value, line, place)
            case "kv-memory": size(&tenant.limits.kvMemory, value, line, place)
            case "tokens-per-minute": limit(&tenant.limits.tokensPerMinute, value, line, place, TenantLimits.rates)
            default:
                fault(
                    line, place,
                    "there is no such field; there are name, weight, priority, router, max-requests, queue, "
                        + "tokens-per-minute, models, uid, disk, memory, kv-memory")
            }
        }
        if problems.count == before, tenant.name.isEmpty { fault(node.line, field, "its name is missing") }
        return problems.count == before ? tenant : nil
    }

    mutating func checkUnique(_ all: [(name: String, line: Int)], _ kind: String) {
        var lines: [String: Int] = [:]
        for (name, line) in all {
            if let before = lines.updateValue(line, forKey: name) {
                fault(line, "name", "the \(kind) \(name) stands in line \(before) already; remove one of them")
            }
        }
    }

    private mutating func text(_ node: YAML, _ line: Int, _ place: String) -> String? {
        if case .text(let text, _) = node.content { return text }
        fault(line, place, reason(node) ?? "must be one value")
        return nil
    }

    private mutating func number(_ node: YAML, _ line: Int, _ place: String, _ range: ClosedRange<Int>, or word: String)
        -> Int?
    {
        guard let text = text(node, line, place) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            fault(
                line, place,
                "'\(text.prefix(100))' cannot be used; write a number from \(range.lowerBound) to \(range.upperBound)\(word)"
            )
            return nil
        }
        return number
    }

    /// One of a few words.
    private mutating func choose<T: CaseIterable & RawRepresentable<String>>(
        _ value: inout T, _ node: YAML, _ line: Int, _ place: String
    ) {
        guard let text = text(node, line, place) else { return }
        guard let choice = T(rawValue: text) else {
            let known = T.allCases.map(\.rawValue).joined(separator: " or ")
            return fault(line, place, "'\(text.prefix(100))' cannot be used; write \(known)")
        }
        value = choice
    }

    private mutating func set(
        _ value: inout Int, _ node: YAML, _ line: Int, _ place: String, _ range: ClosedRange<Int>
    ) {
        if let number = number(node, line, place, range, or: "") { value = number }
    }

    private mutating func limit(
        _ value: inout Int?, _ node: YAML, _ line: Int, _ place: String, _ range: ClosedRange<Int>,
        unset: String = "unlimited"
    ) {
        if case .text(unset, _) = node.content { return value = nil }
        value = number(node, line, place, range, or: ", or \(unset)")
    }

    private mutating func size(_ value: inout Int?, _ node: YAML, _ line: Int, _ place: String) {
        guard let text = text(node, line, place) else { return }
        value = text == "unlimited" ? nil : Quantity.bytes(text)
        if value == nil, text != "unlimited" {
            fault(line, place, "'\(text.prefix(100))' cannot be used; write a size like 20G, or unlimited")
        }
    }

    /// Names of models; nil: all.
    private mutating func names(_ node: YAML, _ line: Int, _ place: String) -> [String]? {
        if case .text("all", _) = node.content { return nil }
        guard case .list(let items) = node.content, items.count <= TenantLimits.mostModels else {
            fault(
                line, place,
                reason(node) ?? "must be all, or a list of at most \(TenantLimits.mostModels) models: [tales-moe]")
            return nil
        }
        return items.enumerated().compactMap { index, item in
            guard let name = text(item, item.line, "\(place)[\(index)]") else { return nil }
            guard ModelName.isFull(name) else {
                fault(
                    item.line, "\(place)[\(index)]",
                    "'\(name.prefix(100))' is no model's name: \(ModelName.rule); of a tenant's model @ and the tenant's "
                        + "name follow")
                return nil
            }
            return name
        }
    }

    private func reason(_ node: YAML) -> String? {
        if case .unusable(let why) = node.content { why } else { nil }
    }
}

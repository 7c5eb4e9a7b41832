// `locum apply`: makes models and tenants what a manifest says. Each step is one that other commands have, whole or not at all;
// one that fails ends the command, what was done before stands, and the same command goes on from there.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel
import Glibc
import Settings
import Wire

struct Apply: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make models and tenants what a manifest says.",
        discussion: """
            A manifest is YAML: a list `models`, each with a name, a file (as `locum deploy` takes it; relative to the manifest)
            and the options of `locum deploy`; and a list `tenants`, each with a name and the limits of `locum tenant
            create`. What a manifest leaves out of a model or tenant is the default; keys are made by `locum key
            create`. Applied twice it changes nothing the second time. Lines that begin with + are new, with ~ changed,
            with - removed.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Option(
        name: [.customShort("f"), .customLong("file")],
        help: ArgumentHelp("The manifest, or - for standard input.", valueName: "file"), completion: .file())
    var file: String
    @Flag(help: "Show what would be changed, and change nothing. Models are read whole for that.") var dryRun = false
    @Flag(
        help: """
            Remove models and tenants that the manifest does not name; a section that is empty or missing removes none. A tenant
            goes with its models.
            """)
    var prune = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let name = file == "-" ? "standard input" : file
            let manifest = try SiteManifest(try YAML.read(file, "the manifest"), name: name)
            let sources = try sources(manifest, name)
            let (models, tenants) = try present()
            try checkOwners(manifest, name, tenants)
            var changes = removals(manifest, models, tenants)
            // Said before anything is done.
            if !json { for change in changes { write(text: change.line) } }
            func note(_ change: SiteChange?) {
                guard let change else { return }
                changes.append(change)
                if !json { write(text: change.line) }
            }
            let deployments = zip(manifest.models, sources)
            for (model, source) in deployments where model.owner == nil { note(try deploy(model, source)) }
            for tenant in manifest.tenants {
                let there = tenants.first { $0.name == tenant.name }?.limits
                let change = SiteChange(tenant, there: there)
                if change != nil, !dryRun { try put(tenant, isNew: there == nil) }
                note(change)
            }
            for (model, source) in deployments where model.owner != nil { note(try deploy(model, source)) }
            if !dryRun {
                let removals = changes.filter { $0.action == .remove }
                // A tenant goes after its models.
                for change in removals.filter({ $0.kind == .model }) + removals.filter({ $0.kind == .tenant }) {
                    try remove(change)
                }
            }
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                return write(text: String(decoding: try encoder.encode(changes), as: UTF8.self) + "\n")
            }
            write(text: summary(changes))
        }
    }

    private func summary(_ changes: [SiteChange]) -> String {
        if changes.isEmpty { return "nothing to change\n" }
        func count(_ action: SiteChange.Action) -> Int { changes.count { $0.action == action } }
        let (added, changed, removed) = (count(.add), count(.change), count(.remove))
        return dryRun
            ? "would add \(added), change \(changed) and remove \(removed); nothing was changed\n"
            : "added \(added), changed \(changed), removed \(removed)\n"
    }

    /// What is there now.
    private func present() throws -> (models: [ModelSummary], tenants: [TenantReport]) {
        (try daemon.client.get("/admin/models"), try daemon.client.get("/admin/tenants"))
    }

    private func removals(
        _ manifest: SiteManifest, _ models: [ModelSummary], _ tenants: [TenantReport]
    ) -> [SiteChange] {
        guard prune else { return [] }
        let (kept, known) = (Set(manifest.models.map(\.options.name)), Set(manifest.tenants.map(\.name)))
        let gone = tenants.map(\.name).filter { !known.isEmpty && !known.contains($0) }
        let superfluous = models.map(\.name).filter { name in
            let owner = ModelName.owner(of: name)
            // One that deploys itself does so beside the manifest.
            let isSelfMade = tenants.contains { $0.name == owner && $0.limits.uid != nil }
            return !kept.isEmpty && !kept.contains(name) && !isSelfMade
                || ModelName.owner(of: name).map(gone.contains) == true
        }
        return gone.sorted().map { SiteChange(removing: .tenant, $0) }
            + superfluous.sorted().map { SiteChange(removing: .model, $0) }
    }

    /// Models are of tenants that are there afterwards.
    private func checkOwners(_ manifest: SiteManifest, _ name: String, _ tenants: [TenantReport]) throws {
        let named = Set(manifest.tenants.map(\.name))
        let stay = prune && !named.isEmpty ? named : named.union(tenants.map(\.name))
        let problems = manifest.models.enumerated().compactMap { index, model -> String? in
            guard let owner = model.owner, !stay.contains(owner) else { return nil }
            let reason =
                named.contains(owner) || !tenants.contains { $0.name == owner } ? "there is none" : "--prune removes it"
            return
                "\(name):\(model.line): models[\(index)].tenant: \(owner) cannot own a model, \(reason); name it in tenants"
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
    }

    // MARK: Models

    /// The sources of all models, opened once to see that all are there before anything is changed.
    private func sources(_ manifest: SiteManifest, _ name: String) throws -> [(file: String, template: String?)] {
        var problems: [String] = []
        let sources = manifest.models.enumerated().map { index, model in
            let source = (file: resolve(model.file), template: model.chatTemplate.map(resolve))
            do { _ = try SourceFiles.open(source.file, chatTemplate: source.template) } catch {
                problems.append("\(name):\(model.line): models[\(index)].file: \(error)")
            }
            return source
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        return sources
    }

    /// A path as the manifest means it: relative to it, or a model that ships with Locum.
    private func resolve(_ path: String) -> String {
        guard !path.hasPrefix("/"), file != "-" else { return path }
        let manifest = DataFolder.absolute(file)
        let folder = manifest.lastIndex(of: "/").map { String(manifest[...$0]) } ?? "/"
        let beside = folder + path
        return access(beside, F_OK) != 0 && Installation.model(path) != nil ? path : beside
    }

    /// Deploys it, or finds out what that would do.
    private func deploy(
        _ model: SiteManifest.Model, _ source: (file: String, template: String?)
    ) throws -> SiteChange? {
        var options = model.options
        (options.probe, options.planOnly) = (dryRun, dryRun)
        let there: DeployRecord?
        do throws(ControlError) {
            let it: ModelDescription = try daemon.client.get("/admin/models/" + Path.component(options.name))
            there = it.options
        } catch {
            guard error.kind == .notFound else { throw error }
            there = nil
        }
        let result = try Deployment(daemon).run(
            options, try SourceFiles.open(source.file, chatTemplate: source.template))
        let report = try JSONDecoder().decode(DeployReport.self, from: Data(result.utf8))
        return SiteChange(model.options, there: there, report)
    }

    // MARK: Tenants

    private func put(_ tenant: SiteManifest.Tenant, isNew: Bool) throws {
        let limits = tenant.limits
        var members: [String: TenantCommand.Member] = [
            "weight": .number(limits.weight), "priority": .text(limits.priority.rawValue),
            "router": .text(limits.router.rawValue), "queue": .number(limits.queue),
            "max_requests": limits.maxRequests.map { .number($0) } ?? .null,
            "tokens_per_minute": limits.tokensPerMinute.map { .number($0) } ?? .null,
            "models": limits.models.map { .names($0) } ?? .null, "uid": limits.uid.map { .number($0) } ?? .null,
            "disk": limits.disk.map { .number($0) } ?? .null, "memory": limits.memory.map { .number($0) } ?? .null,
            "kv_memory": limits.kvMemory.map { .number($0) } ?? .null,
        ]
        if isNew { members["name"] = .text(tenant.name) }
        let path = "/admin/tenants" + (isNew ? "" : "/" + Path.component(tenant.name))
        _ = try daemon.client.request(isNew ? "POST" : "PATCH", path, body: try JSONEncoder().encode(members))
    }

    private func remove(_ change: SiteChange) throws {
        let section = change.kind == .tenant ? "tenants" : "models"
        do throws(ControlError) {
            _ = try daemon.client.request("DELETE", "/admin/\(section)/" + Path.component(change.name))
        } catch {
            // Somebody else was faster.
            guard error.kind == .notFound else { throw error }
        }
    }
}

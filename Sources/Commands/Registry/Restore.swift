// `locum restore`: each model of a backup is deployed from it, in the way of every deployment: a sandboxed process
// reads the file, node hashes what it writes, and the registry has the model whole or as it was.
import ArgumentParser
import ControlClient
import Crypto
import FoundationEssentials
import FunctionModel
import Glibc
import Syscall
import Wire

struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Deploy models from a backup, while Locum runs.",
        discussion: """
            A model of the same name becomes what it was in the backup; all others stay as they are. Shards that are
            there already are not written again. With --tenants the same is done with tenants and the operator's keys: what
            was revoked since is valid again. Models of tenants that are not here come with --tenants alone. With --usage what
            was used comes back; of an hour that is known here, too, the greater amounts stand, so that nothing counts twice.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "A file that `locum backup` made.", completion: .file()) var file: String
    @Argument(help: "Names of models; default: all that are in it.") var models: [String] = []
    @Flag(help: "Also the tenants that are in it with their keys, and the operator's keys.") var tenants = false
    @Flag(help: "Also what was used, by tenant, model and key.") var usage = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let descriptor = try open()
            let index = try Self.index(of: file, descriptor)
            let used = try BackupUsage(of: file, descriptor)
            for name in models where !index.models.contains(where: { $0.name == name }) {
                throw ControlError(
                    kind: .notFound, code: "not_found",
                    message: "\(file) holds no model \(name), only: \(index.models.map(\.name).joined(separator: ", "))"
                )
            }
            let wanted = index.models.filter { models.isEmpty || models.contains($0.name) }
            // First, because models of tenants belong to somebody.
            if tenants { try restore(index.tenants ?? [], index.operatorKeys ?? []) }
            try checkOwners(wanted)
            var results: [String] = []
            for model in wanted {
                let source = SourceFile(
                    name: file.split(separator: "/").last.map(String.init) ?? file, descriptor: descriptor)
                let result = try Deployment(daemon).run(model.deployOptions, [source])
                results.append(result)
                if !json {
                    write(text: try JSONDecoder().decode(DeployReport.self, from: Data(result.utf8)).text)
                }
            }
            if usage, let used { try restore(used) }
            if json { return write(text: "[\(results.joined(separator: ","))]\n") }
            let left = [
                Self.count(index.tenants, "tenant", "tenants"),
                Self.count(index.operatorKeys, "operator's key", "operator's keys"),
            ].compactMap { $0 }
            if !tenants, !left.isEmpty {
                write(text: "left in the backup: \(left.joined(separator: ", ")), see --tenants\n")
            }
            if !usage, used != nil { write(text: "left in the backup: what was used, see --usage\n") }
        }
    }

    /// Before anything large is written: whose models these are must be here.
    private func checkOwners(_ wanted: [BackupIndex.Model]) throws {
        let owners = Set(wanted.compactMap { ModelName.owner(of: $0.name) })
        guard !owners.isEmpty else { return }
        let reports: [TenantReport] = try daemon.client.get("/admin/tenants")
        let missing = owners.subtracting(reports.map(\.name)).sorted()
        guard missing.isEmpty else {
            throw ControlError(
                kind: .failed, code: "no_tenant",
                message:
                    "\(file) holds models of tenants that are not here: \(missing.joined(separator: ", ")). Restore "
                    + "them, too, with --tenants, make them with `locum tenant create`, or name the models that you want"
            )
        }
    }

    private static func count(_ list: [some Any]?, _ one: String, _ many: String) -> String? {
        guard let count = list?.count, count > 0 else { return nil }
        return "\(count) \(count == 1 ? one : many)"
    }

    private func restore(_ tenants: [BackupIndex.Tenant], _ keys: [BackupIndex.Key]) throws {
        for key in keys {
            let answer = try daemon.client.request(
                "PUT", "/admin/keys/" + Path.component(key.id), body: JSONEncoder().encode(key))
            let restored = try JSONDecoder().decode(KeyReport.self, from: answer)
            if !json { write(text: "restored \(restored.id)… \(restored.owner)\n") }
        }
        for tenant in tenants {
            _ = try daemon.client.request(
                "PUT", "/admin/tenants/" + Path.component(tenant.name), body: JSONEncoder().encode(tenant))
            if !json {
                let count = tenant.keys.count
                write(text: "restored tenant \(tenant.name) with \(count) \(count == 1 ? "key" : "keys")\n")
            }
        }
    }

    private func restore(_ used: BackupUsage) throws {
        var count = 0
        try used.each(Self.hoursAtOnce) { hours in
            _ = try daemon.client.request("PUT", "/admin/usage/hours", body: JSONEncoder().encode(["hours": hours]))
            count += hours.count
        }
        if !json { write(text: "restored what was used: \(count) \(count == 1 ? "row" : "rows") of an hour each\n") }
    }

    /// A request's body is far below what control takes.
    private static let hoursAtOnce = 1000

    private func open() throws -> Descriptor {
        let descriptor = Descriptor(
            owning: try check(Glibc.open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), "open \(file)"))
        var info = stat()
        try check(fstat(descriptor.raw, &info), "look at \(file)")
        guard info.st_mode & S_IFMT == S_IFREG else {
            throw BackupWriter.Failure(description: "\(file) is not a regular file.")
        }
        return descriptor
    }

    /// The list of models; shards are looked at where they are restored.
    private static func index(of file: String, _ descriptor: Descriptor) throws -> BackupIndex {
        guard let header = TarHeader.read(try BackupUsage.bytes(descriptor, at: 0, TarHeader.block)),
            header.name.hasPrefix(BackupIndex.prefix)
        else { throw BackupWriter.Failure(description: "\(file) is no backup of Locum, or its beginning is damaged") }
        guard header.size <= BackupIndex.longest else {
            throw BackupWriter.Failure(description: "\(file) is damaged: a list of models of \(header.size) bytes")
        }
        struct Format: Decodable { let format: Int }
        let json = Data(try BackupUsage.bytes(descriptor, at: TarHeader.block, header.size))
        guard header.name == BackupIndex.entry(index: Hexadecimal.text(Array(SHA256.hash(data: json)))) else {
            throw BackupWriter.Failure(
                description:
                    "\(file) is damaged: its list of models does not have the bytes of its name; use another copy")
        }
        let format = try? JSONDecoder().decode(Format.self, from: json).format
        if let format, format > BackupIndex.newestFormat {
            throw BackupWriter.Failure(
                description:
                    "\(file) has format \(format), and this Locum knows formats up to \(BackupIndex.newestFormat); "
                    + "restore it with a newer one")
        }
        guard let index = try? JSONDecoder().decode(BackupIndex.self, from: json) else {
            throw BackupWriter.Failure(description: "\(file) is damaged: its list of models cannot be read")
        }
        return index
    }
}

extension BackupIndex.Model {
    /// The same options again, so that the same deployment later changes nothing.
    var deployOptions: DeployOptions {
        DeployOptions(
            name: name, expertsPerFunction: UInt32(clamping: options.expertsPerFunction),
            layersPerFunction: UInt32(clamping: options.layersPerFunction), quantize: options.quantize,
            context: UInt32(clamping: options.context), kvType: options.kvType)
    }
}

// `locum repair`, the offline part of control: the registry is read as far as it can be, every shard that it names is
// hashed, and what is whole goes into a new registry. The CLI becomes this program, so the rights are those of the
// person who repairs.
import ControlStore
import FoundationEssentials
import FunctionModel
import Glibc
import ShardStore

enum Repair {
    static func run(data: String, json: Bool) throws {
        let path = data + "/registry.sqlite"
        guard access(data, F_OK) == 0 else {
            throw StoreError(code: "io", message: "there is no data folder \(data); name it with --data")
        }
        let lock = try RegistryLock(path: data + "/control.lock", patience: .zero)
        let repair = try RegistryRepair(path: path)
        let (whole, broken) = try verify(repair.models, ShardStore(folder: data + "/shards", temporary: data + "/tmp"))
        let lost = repair.lost + broken
        var aside: String?
        if repair.damage != nil || !lost.isEmpty { aside = try repair.replace(keeping: whole) }
        let damage = repair.damage ?? (broken.isEmpty ? nil : "shards that it names are damaged or gone")
        let report = RepairReport(
            damage: damage, saved: saved(repair, whole), lost: lost, aside: aside,
            closed: aside != nil && repair.closes ? RegistryRepair.closing : nil)
        let text =
            json ? String(decoding: try JSONEncoder().encode(report), as: UTF8.self) + "\n" : self.text(report, path)
        let bytes = Array(text.utf8)
        _ = write(STDOUT_FILENO, bytes, bytes.count)
        withExtendedLifetime(lock) {}
    }

    private static func saved(_ repair: RegistryRepair, _ models: [ModelRecord]) -> [String] {
        models.map(\.name) + repair.tenants.map { "tenant \($0.name)" }
            + repair.operatorKeys.map { "key \($0.key.id)" }
    }

    /// Models all of whose shards have the bytes that they are named after, and the others.
    private static func verify(
        _ models: [ModelRecord], _ store: ShardStore
    ) throws -> (whole: [ModelRecord], broken: [RepairReport.Loss]) {
        var known: [[UInt8]: String?] = [:]
        var (whole, broken): ([ModelRecord], [RepairReport.Loss]) = ([], [])
        for model in models {
            var faults: [String] = []
            for function in model.functions {
                let fault = known[function.digest] ?? damage(to: function.digest, store)
                known.updateValue(fault, forKey: function.digest)
                if let fault { faults.append("\(function.name): \(fault)") }
            }
            if faults.isEmpty {
                whole.append(model)
            } else {
                let more = faults.count > 3 ? " and \(faults.count - 3) more" : ""
                broken.append(.init(model: model.name, reason: faults.prefix(3).joined(separator: "; ") + more))
            }
        }
        return (whole, broken)
    }

    private static func damage(to bytes: [UInt8], _ store: ShardStore) -> String? {
        guard let digest = ShardDigest(bytes) else { return "its digest has \(bytes.count) bytes" }
        do throws(ShardStoreError) {
            let (file, length) = try store.open(digest)
            let hashing = ShardHashing(file, length: length)
            while true {
                guard let found = try hashing.step() else { continue }
                return found == digest ? nil : "its shard \(digest) is damaged"
            }
        } catch {
            return error.message
        }
    }

    private static func text(_ report: RepairReport, _ path: String) -> String {
        guard let damage = report.damage else {
            return
                "\(path) holds together, and so do the shards of its \(report.saved.count { !$0.contains(" ") }) models; nothing was changed\n"
        }
        var text = "found: \(damage)\n"
        for name in report.saved { text += "saved: \(name)\n" }
        for loss in report.lost {
            text += "lost: \(loss.model) (\(loss.reason)); deploy it again or restore a backup\n"
        }
        if report.saved.isEmpty && report.lost.isEmpty { text += "lost: everything; no model could be read\n" }
        if let closed = report.closed {
            text +=
                "the HTTP API is closed, for it cannot be told who might use it: make tenants again, or open it to everybody "
                + "with `locum tenant rm \(closed)`\n"
        }
        if let aside = report.aside { text += "the damaged registry is kept as \(aside)\n" }
        return text
    }
}

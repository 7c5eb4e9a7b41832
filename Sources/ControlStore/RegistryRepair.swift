import FoundationEssentials
// Saving what can be read of a damaged registry. The damaged file is never written to: everything is read from a copy,
// put into a new registry, and the two change names. Between the renames there is no registry, and a start then refuses
// (`SQLiteRegistry`), so that a repair that was cut off is never taken for an empty registry; the next one goes on.
public import FunctionModel
import GRDB
import Glibc

/// A repair under way. The caller holds the registry's lock; nobody else has it open.
public struct RegistryRepair {
    /// Why the registry was refused; nil: it holds together.
    public let damage: String?
    /// What can be read whole.
    public let models: [ModelRecord]
    public let tenants: [TenantRecord]
    public let operatorKeys: [OperatorKey]
    /// What cannot, as far as names are known.
    public let lost: [RepairReport.Loss]
    /// Whether nobody can tell who might use the HTTP API: tenants were lost, or may have been, and none was saved, or the
    /// same of the operator's keys where there are no tenants. It would be open to everybody.
    public let closes: Bool
    /// The tenant without a key that keeps it closed then.
    public static let closing = "closed-by-repair"
    private let path: String
    private let source: String
    private let counters: [String: Int64]

    /// Reads what can be read; changes nothing.
    /// - Throws: `StoreError`; `newer`, or `io` when there is nothing to read.
    public init(path: String) throws(StoreError) {
        self.path = path
        // An empty one is none: SQLite would take it for a registry without models.
        let isThere = RegistryFiles.size(path) > 0
        guard let source = isThere ? path : RegistryFiles.damaged(path) else {
            throw StoreError(code: "io", message: "there is no registry \(path), so nothing can be repaired")
        }
        self.source = source
        // The repair before was cut off between two renames.
        if !isThere, RegistryFiles.exists(path + "-wal") {
            try RegistryFiles.move(path + "-wal", to: source + "-wal")
        }
        let found = try Self.read(source, copy: path + "-salvage")
        (models, tenants, lost, counters) = (found.models, found.tenants, found.lost, found.counters)
        operatorKeys = found.operatorKeys
        closes =
            found.tenants.isEmpty
            && (found.hasLostTenants || found.hasLostOperatorKeys && found.operatorKeys.isEmpty)
        damage = found.damage ?? (isThere ? nil : "a repair did not end")
    }

    private static func read(_ source: String, copy: String) throws(StoreError) -> Salvage {
        defer { RegistryFiles.remove(copy) }
        func makeCopy() throws(StoreError) {
            RegistryFiles.remove(copy)
            for part in ["", "-wal"] where RegistryFiles.exists(source + part) {
                try RegistryFiles.copy(source + part, to: copy + part)
            }
        }
        try makeCopy()
        do throws(StoreError) {
            let registry = try SQLiteRegistry(path: copy)
            defer { registry.close() }
            return Salvage(
                models: try registry.models(), tenants: try registry.tenants(),
                operatorKeys: try registry.operatorKeys(), counters: try registry.counters())
        } catch {
            // Whatever else is wrong with a copy of our own is wrong with what was copied.
            guard error.code != "newer", error.code != "disk_full" else { throw error }
            // The first attempt may have taken the log into the copy.
            try makeCopy()
            return Salvage(damage: error.message, reading: copy)
        }
    }

    /// Puts a new registry with these models in place of the damaged one.
    /// - Returns: the name under which the damaged one stays.
    /// - Throws: `StoreError`.
    public func replace(keeping kept: [ModelRecord]) throws(StoreError) -> String {
        let fresh = path + "-repaired"
        RegistryFiles.remove(fresh)
        let registry = try SQLiteRegistry(path: fresh)
        let (counters, tenants, closes, operatorKeys) = (counters, tenants, closes, operatorKeys)
        try registry.write { db in
            try SQLiteRegistry.write(operatorKeys, db)
            for tenant in tenants { try SQLiteRegistry.write(tenant, db) }
            if closes {
                let closed = TenantRecord(
                    name: Self.closing, limits: TenantLimits(models: []), createdAt: Int64(time(nil)))
                try SQLiteRegistry.write(closed, db)
            }
            for model in kept { try SQLiteRegistry.write(model, db) }
            // Whose a model is stays said when all else of its tenant is lost: it has no key, and may use nothing else.
            for owner in try SQLiteRegistry.owners(db).keys where try !SQLiteRegistry.isTenant(owner, db) {
                let bare = TenantRecord(name: owner, limits: TenantLimits(models: []), createdAt: Int64(time(nil)))
                try SQLiteRegistry.write(bare, db)
            }
            let used = kept.flatMap(\.functions).map(\.id).max() ?? 0
            let next = ["function": max(counters["function"] ?? 1, Int64(clamping: used) + 1)]
                .merging(["instance": counters["instance"] ?? 1]) { $1 }
            for (name, value) in next {
                try db.execute(
                    sql: "UPDATE counters SET next = max(next, ?) WHERE name = ?", arguments: [value, name])
            }
        }
        registry.close()
        unlink(SQLiteRegistry.reservePath(fresh))
        var aside = source
        if source == path {
            aside = RegistryFiles.nextDamaged(path)
            try RegistryFiles.move(path, to: aside)
            if RegistryFiles.exists(path + "-wal") { try RegistryFiles.move(path + "-wal", to: aside + "-wal") }
        }
        unlink(path + "-shm")
        try RegistryFiles.sync(folderOf: path)
        try RegistryFiles.move(fresh, to: path)
        try RegistryFiles.sync(folderOf: path)
        return aside
    }
}

/// Rows out of a damaged file, as many as can be reached: from both ends of each table, and one by one.
private struct Salvage {
    var models: [ModelRecord] = []
    var tenants: [TenantRecord] = []
    var operatorKeys: [OperatorKey] = []
    var hasLostTenants = false
    var hasLostOperatorKeys = false
    var lost: [RepairReport.Loss] = []
    var counters: [String: Int64] = [:]
    var damage: String?

    init(models: [ModelRecord], tenants: [TenantRecord], operatorKeys: [OperatorKey], counters: [String: Int64]) {
        (self.models, self.tenants, self.operatorKeys, self.counters) = (models, tenants, operatorKeys, counters)
    }

    init(damage: String, reading path: String) {
        self.damage = damage
        // Not even opened: nothing can be read.
        guard let queue = try? DatabaseQueue(path: path) else {
            hasLostTenants = true
            return
        }
        queue.writeWithoutTransaction { read($0) }
        try? queue.close()
    }

    private mutating func read(_ db: Database) {
        var names: Set<String> = []
        let functions = rows(db, "SELECT * FROM functions ORDER BY id", "SELECT * FROM functions ORDER BY id DESC")
        for row in rows(db, "SELECT * FROM models ORDER BY name", "SELECT * FROM models ORDER BY name DESC") {
            guard let name = try? row.decode(String.self, forColumn: "name"), names.insert(name).inserted else {
                continue
            }
            do { models.append(try model(row, name, functions, db)) } catch {
                let reason = (error as? DatabaseError)?.message ?? "what stands of it cannot be read"
                lost.append(RepairReport.Loss(model: name, reason: reason))
            }
        }
        let mentioned = Set(functions.compactMap { try? $0.decode(String.self, forColumn: "model") })
        for name in mentioned.subtracting(names).sorted() {
            lost.append(RepairReport.Loss(model: name, reason: "only some of its functions can be read"))
        }
        for row in rows(db, "SELECT * FROM tenants ORDER BY name", "SELECT * FROM tenants ORDER BY name DESC") {
            guard let name = try? row.decode(String.self, forColumn: "name"), names.insert("tenant \(name)").inserted
            else { continue }
            // With all its keys or not at all.
            do { tenants.append(try SQLiteRegistry.tenant(row, db)) } catch {
                let reason = (error as? DatabaseError)?.message ?? "what stands of it cannot be read"
                lost.append(RepairReport.Loss(model: "tenant \(name)", reason: reason))
                hasLostTenants = true
            }
        }
        do {
            // Older registries have no such tables.
            if try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master WHERE name = 'tenants'") != 0 {
                _ = try Row.fetchAll(db, sql: "SELECT * FROM tenants")
                let owners = try String.fetchAll(db, sql: "SELECT DISTINCT tenant FROM keys")
                for owner in owners where !names.contains("tenant \(owner)") {
                    lost.append(RepairReport.Loss(model: "tenant \(owner)", reason: "only its keys can be read"))
                    hasLostTenants = true
                }
            }
        } catch {
            lost.append(RepairReport.Loss(model: "tenants", reason: "not all that stands of them can be read"))
            hasLostTenants = true
        }
        readOperatorKeys(db)
        for row in rows(db, "SELECT * FROM counters", nil) {
            guard let name = try? row.decode(String.self, forColumn: "name") else { continue }
            counters[name] = try? row.decode(Int64.self, forColumn: "next")
        }
    }

    private mutating func readOperatorKeys(_ db: Database) {
        var ids: Set<String> = []
        for row in rows(db, "SELECT * FROM operator_keys ORDER BY id", "SELECT * FROM operator_keys ORDER BY id DESC") {
            guard let id = try? row.decode(String.self, forColumn: "id"), ids.insert(id).inserted else { continue }
            do { operatorKeys.append(try SQLiteRegistry.operatorKey(row)) } catch {
                let reason = (error as? DatabaseError)?.message ?? "what stands of it cannot be read"
                lost.append(RepairReport.Loss(model: "key \(id)", reason: reason))
                hasLostOperatorKeys = true
            }
        }
        do {
            // Older registries have no such table.
            if try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master WHERE name = 'operator_keys'") != 0 {
                _ = try Row.fetchAll(db, sql: "SELECT * FROM operator_keys")
            }
        } catch {
            lost.append(RepairReport.Loss(model: "keys", reason: "not all that stands of the operator's can be read"))
            hasLostOperatorKeys = true
        }
    }

    private func model(_ row: Row, _ name: String, _ scanned: [Row], _ db: Database) throws -> ModelRecord {
        var functions: [Int: Row] = [:]
        for function in scanned where (try? function.decode(String.self, forColumn: "model")) == name {
            functions[try function.decode(forColumn: "position")] = function
        }
        let manifest = try JSONDecoder().decode(
            ImportManifest.self, from: Data(try row.decode(String.self, forColumn: "manifest").utf8))
        for position in manifest.functions.indices where functions[position] == nil {
            functions[position] = try? Row.fetchOne(
                db, sql: "SELECT * FROM functions WHERE model = ? AND position = ?", arguments: [name, position])
        }
        let missing = manifest.functions.indices.filter { functions[$0] == nil }
        guard missing.isEmpty, functions.count == manifest.functions.count else {
            throw SQLiteRegistry.corrupt(
                "\(missing.count) of its \(manifest.functions.count) functions cannot be read")
        }
        let ordered = manifest.functions.indices.compactMap { functions[$0] }
        // One of before there were checksums has none.
        if row.hasColumn("checksum"),
            try row.decode(Int64.self, forColumn: "checksum") != SQLiteRegistry.checksum(row, ordered)
        {
            throw SQLiteRegistry.corrupt("what stands of it does not agree with its checksum")
        }
        return try SQLiteRegistry.model(row, ordered)
    }

    /// A table's rows up to the first that cannot be read, from either end; some come twice.
    private func rows(_ db: Database, _ queries: String?...) -> [Row] {
        var found: [Row] = []
        for query in queries.compactMap({ $0 }) {
            guard let cursor = try? Row.fetchCursor(db, sql: query) else { continue }
            while let row = try? cursor.next() { found.append(row.copy()) }
        }
        return found
    }
}

import FoundationEssentials
// Tenants and their keys. As a model's functions, a tenant's keys are covered by its checksum.
public import FunctionModel
import GRDB

extension SQLiteRegistry {
    public func tenants() throws(StoreError) -> [TenantRecord] {
        try run { queue in
            try queue.read { db in
                try Row.fetchAll(db, sql: "SELECT * FROM tenants ORDER BY name").map { try Self.tenant($0, db) }
            }
        }
    }

    public func write(_ tenant: TenantRecord) throws(StoreError) {
        // Also on a full disk: a key that has leaked must be revoked.
        try Self.spending(reserve) { () throws(StoreError) in try write { db in try Self.write(tenant, db) } }
        keepReserve()
    }

    public func remove(tenant: String) throws(StoreError) -> Bool {
        let removed: Bool? = try Self.spending(reserve) { () throws(StoreError) in
            try write { db in
                guard try Self.owners(db)[tenant] == nil else { return nil }
                try db.execute(sql: "DELETE FROM tenants WHERE name = ?", arguments: [tenant])
                return db.changesCount > 0
            }
        }
        guard let removed else {
            throw StoreError(code: "in_use", message: "tenant \(tenant) has models; remove them first")
        }
        keepReserve()
        return removed
    }

    static func isTenant(_ name: String, _ db: Database) throws -> Bool {
        try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM tenants WHERE name = ?)", arguments: [name]) ?? false
    }

    /// Tenants that own models, each with one of them.
    static func owners(_ db: Database) throws -> [String: String] {
        let names = try String.fetchAll(db, sql: "SELECT name FROM models WHERE instr(name, '@') > 0")
        return Dictionary(names.compactMap { name in ModelName.owner(of: name).map { ($0, name) } }) { first, _ in first
        }
    }

    static func write(_ tenant: TenantRecord, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM tenants WHERE name = ?", arguments: [tenant.name])
        try db.execute(
            sql: "INSERT INTO tenants VALUES (?, ?, ?, 0)",
            arguments: [tenant.name, try text(tenant.limits), tenant.createdAt])
        for key in tenant.keys {
            try db.execute(
                sql: "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                arguments: [key.id, tenant.name, Data(key.hash), key.createdAt, key.lastUsed])
        }
        guard let row = try Row.fetchOne(db, sql: "SELECT * FROM tenants WHERE name = ?", arguments: [tenant.name])
        else { throw corrupt("tenant \(tenant.name) is not where it was just written") }
        try db.execute(
            sql: "UPDATE tenants SET checksum = ? WHERE name = ?",
            arguments: [checksum(row, try keys(of: tenant.name, db)), tenant.name])
    }

    /// - Throws: `DatabaseError` `SQLITE_CORRUPT` when its checksum does not agree.
    static func tenant(_ row: Row, _ db: Database) throws -> TenantRecord {
        let name = try row.decode(String.self, forColumn: "name")
        let keys = try keys(of: name, db)
        guard try row.decode(Int64.self, forColumn: "checksum") == checksum(row, keys) else {
            throw corrupt("what it says of tenant \(name) does not agree with its checksum")
        }
        let limits = Data(try row.decode(String.self, forColumn: "limits").utf8)
        return TenantRecord(
            name: name, limits: try JSONDecoder().decode(TenantLimits.self, from: limits),
            createdAt: try row.decode(forColumn: "created_at"),
            keys: try keys.map { key in
                KeyRecord(
                    id: try key.decode(forColumn: "id"), hash: Array(try key.decode(Data.self, forColumn: "hash")),
                    createdAt: try key.decode(forColumn: "created_at"),
                    lastUsed: try key.decode(Int64?.self, forColumn: "last_used"))
            })
    }

    private static func keys(of tenant: String, _ db: Database) throws -> [Row] {
        try Row.fetchAll(db, sql: "SELECT * FROM keys WHERE tenant = ? ORDER BY id", arguments: [tenant])
    }
}

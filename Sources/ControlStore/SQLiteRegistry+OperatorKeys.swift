import FoundationEssentials
// The operator's keys. Each is covered by a checksum of its own: a byte altered from outside must not make an admin key of
// one for metrics.
public import FunctionModel
import GRDB

extension SQLiteRegistry {
    public func operatorKeys() throws(StoreError) -> [OperatorKey] {
        try run { queue in
            try queue.read { db in
                try Row.fetchAll(db, sql: "SELECT * FROM operator_keys ORDER BY id").map(Self.operatorKey)
            }
        }
    }

    public func write(_ keys: [OperatorKey]) throws(StoreError) {
        // Also on a full disk: a key that has leaked must be revoked.
        try Self.spending(reserve) { () throws(StoreError) in try write { db in try Self.write(keys, db) } }
        keepReserve()
    }

    static func write(_ keys: [OperatorKey], _ db: Database) throws {
        try db.execute(sql: "DELETE FROM operator_keys")
        for key in keys {
            try db.execute(
                sql: "INSERT INTO operator_keys VALUES (?, ?, ?, ?, ?, 0)",
                arguments: [
                    key.key.id, key.role.rawValue, Data(key.key.hash), key.key.createdAt, key.key.lastUsed,
                ])
        }
        for row in try Row.fetchAll(db, sql: "SELECT * FROM operator_keys") {
            try db.execute(
                sql: "UPDATE operator_keys SET checksum = ? WHERE id = ?",
                arguments: [checksum(row, []), try row.decode(String.self, forColumn: "id")])
        }
    }

    /// - Throws: `DatabaseError` `SQLITE_CORRUPT` when its checksum does not agree, or nobody knows its role.
    static func operatorKey(_ row: Row) throws -> OperatorKey {
        let id = try row.decode(String.self, forColumn: "id")
        guard try row.decode(Int64.self, forColumn: "checksum") == checksum(row, []),
            let role = OperatorRole(rawValue: try row.decode(String.self, forColumn: "role"))
        else { throw corrupt("what it says of the operator's key \(id) does not agree with its checksum") }
        return OperatorKey(
            role: role,
            key: KeyRecord(
                id: id, hash: Array(try row.decode(Data.self, forColumn: "hash")),
                createdAt: try row.decode(forColumn: "created_at"),
                lastUsed: try row.decode(Int64?.self, forColumn: "last_used")))
    }
}

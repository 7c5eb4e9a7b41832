import FoundationEssentials
// The tables, how they came to be, and what must hold between them. SQLite finds damage to its own structure; what a
// row says is covered by a checksum of each model over all that stands of it, so that a byte altered from outside is
// found at the start, before anybody acts on it (node removes shards that no model names).
import GRDB

extension SQLiteRegistry {
    /// Number of the newest migration; stands in the file (`user_version`), so that an older program can tell.
    static let schema = 5

    /// One more for every change of the tables. None is ever changed.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("models, functions, counters") { db in
            try db.execute(
                sql: """
                    CREATE TABLE models (
                        name TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL, manifest TEXT NOT NULL,
                        options TEXT NOT NULL, deployed_at INTEGER NOT NULL, node TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE functions (
                        id INTEGER PRIMARY KEY NOT NULL,
                        model TEXT NOT NULL REFERENCES models(name) ON DELETE CASCADE,
                        position INTEGER NOT NULL, name TEXT NOT NULL UNIQUE, runtime TEXT NOT NULL,
                        digest BLOB NOT NULL CHECK (length(digest) = 32), bytes INTEGER NOT NULL,
                        experts INTEGER NOT NULL, node TEXT NOT NULL,
                        UNIQUE (model, position)
                    ) STRICT;
                    CREATE TABLE counters (
                        name TEXT PRIMARY KEY NOT NULL, next INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    INSERT INTO counters VALUES ('function', 1), ('instance', 1);
                    """)
        }
        migrator.registerMigration("checksums of models") { db in
            try db.execute(sql: "ALTER TABLE models ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
            for name in try String.fetchAll(db, sql: "SELECT name FROM models") { try sign(name, db) }
            try db.execute(sql: "PRAGMA user_version = 2")
        }
        migrator.registerMigration("tenants and keys") { db in
            try db.execute(
                sql: """
                    CREATE TABLE tenants (
                        name TEXT PRIMARY KEY NOT NULL, limits TEXT NOT NULL, created_at INTEGER NOT NULL,
                        checksum INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE keys (
                        id TEXT PRIMARY KEY NOT NULL,
                        tenant TEXT NOT NULL REFERENCES tenants(name) ON DELETE CASCADE,
                        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), created_at INTEGER NOT NULL,
                        last_used INTEGER
                    ) STRICT, WITHOUT ROWID;
                    PRAGMA user_version = 3
                    """)
        }
        migrator.registerMigration("keys of the operator") { db in
            try db.execute(
                sql: """
                    CREATE TABLE operator_keys (
                        id TEXT PRIMARY KEY NOT NULL, role TEXT NOT NULL,
                        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), created_at INTEGER NOT NULL,
                        last_used INTEGER, checksum INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    PRAGMA user_version = 4
                    """)
        }
        // The same tables; but a program that does not know whose `name@tenant` is would give it to everybody.
        migrator.registerMigration("models of tenants") { db in try db.execute(sql: "PRAGMA user_version = 5") }
        return migrator
    }

    /// Whether SQLite's own structure is sound; before anything is changed.
    /// - Throws: `DatabaseError` `SQLITE_CORRUPT`.
    static func checkStructure(_ db: Database) throws {
        let verdict = try String.fetchOne(db, sql: "PRAGMA quick_check(1)")
        guard verdict == "ok" else { throw corrupt(verdict ?? "the check says nothing") }
    }

    /// What tables say of each other, and each model's checksum.
    /// - Throws: `DatabaseError` `SQLITE_CORRUPT`.
    static func check(_ db: Database) throws {
        guard try Row.fetchOne(db, sql: "PRAGMA foreign_key_check") == nil else {
            throw corrupt("it holds functions of models, or keys of tenants, that it lacks")
        }
        let sound = try Bool.fetchOne(
            db,
            sql: """
                SELECT (SELECT count(*) FROM counters WHERE name IN ('function', 'instance')) = 2
                AND (SELECT coalesce(max(id), 0) FROM functions) < (SELECT next FROM counters WHERE name = 'function')
                """)
        guard sound == true else { throw corrupt("its counters are behind what it holds") }
        for row in try Row.fetchAll(db, sql: "SELECT * FROM models") { _ = try model(row, db) }
        for row in try Row.fetchAll(db, sql: "SELECT * FROM tenants") { _ = try tenant(row, db) }
        for row in try Row.fetchAll(db, sql: "SELECT * FROM operator_keys") { _ = try operatorKey(row) }
        for (owner, name) in try owners(db) where try !isTenant(owner, db) {
            throw corrupt("it holds model \(name), and no tenant \(owner)")
        }
    }

    static func corrupt(_ message: String) -> DatabaseError {
        DatabaseError(resultCode: .SQLITE_CORRUPT, message: message)
    }

    // MARK: Checksums

    /// Writes a model's checksum, after everything else of it.
    static func sign(_ name: String, _ db: Database) throws {
        guard let row = try Row.fetchOne(db, sql: "SELECT * FROM models WHERE name = ?", arguments: [name]) else {
            throw corrupt("model \(name) is not where it was just written")
        }
        try db.execute(
            sql: "UPDATE models SET checksum = ? WHERE name = ?",
            arguments: [checksum(row, try functions(of: name, db)), name])
    }

    static func functions(of model: String, _ db: Database) throws -> [Row] {
        try Row.fetchAll(db, sql: "SELECT * FROM functions WHERE model = ? ORDER BY position", arguments: [model])
    }

    /// FNV-1a over all columns of a row and of those that belong to it, in order. Against accidents: who means harm can write it.
    static func checksum(_ row: Row, _ parts: [Row]) -> Int64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ bytes: [UInt8]) {
            for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        for row in [row] + parts {
            for (column, value) in row where column != "checksum" {
                switch value.storage {
                case .null: add([0])
                case .int64(let number): add([1] + Array("\(number)".utf8))
                case .double(let number): add([2] + Array("\(number)".utf8))
                case .string(let text): add([3] + Array(text.utf8))
                case .blob(let bytes): add([4] + Array(bytes))
                }
                add([255])
            }
        }
        return Int64(bitPattern: hash)
    }
}

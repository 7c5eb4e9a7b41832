import FoundationEssentials
// The registry in one SQLite file. Write-ahead log with synchronous=FULL, so that a transaction that returned
// is on the disk, whatever dies next; GRDB sets NORMAL when it turns the log on, therefore FULL is set
// afterwards, explicitly. One connection: the registry is read whole at start and written seldom.
public import FunctionModel
import GRDB

/// `RegistryStore` in `DIR/registry.sqlite`.
public final class SQLiteRegistry: RegistryStore {
    let queue: DatabaseQueue
    let path: String

    /// Opens or makes the registry. The caller holds its `RegistryLock`.
    /// - Throws: `StoreError`; `damaged` when the file is no registry or does not hold together.
    public init(path: String) throws(StoreError) {
        self.path = path
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.foreignKeysEnabled = true
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.writeWithoutTransaction { db in
                // After opening: GRDB's own set-up of the log chooses NORMAL.
                try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024")
                let verdict = try String.fetchOne(db, sql: "PRAGMA quick_check(1)")
                guard verdict == "ok" else { throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: verdict) }
            }
            try Self.migrator.migrate(queue)
        } catch {
            throw Self.storeError(error, path)
        }
    }

    private static var migrator: DatabaseMigrator {
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
        return migrator
    }

    public func models() throws(StoreError) -> [ModelRecord] {
        try run { queue in
            try queue.read { db in
                try Row.fetchAll(db, sql: "SELECT * FROM models ORDER BY name").map { try Self.model($0, db) }
            }
        }
    }

    public func remove(model: String) throws(StoreError) -> Bool {
        try run { queue in
            try queue.write { db in
                try db.execute(sql: "DELETE FROM models WHERE name = ?", arguments: [model])
                return db.changesCount > 0
            }
        }
    }

    public func reserveInstances(_ count: Int) throws(StoreError) -> Range<UInt64> {
        let first = try run { queue in try queue.write { try Self.take(count, "instance", $0) } }
        return UInt64(first)..<UInt64(first) + UInt64(count)
    }

    func run<T>(_ body: (DatabaseQueue) throws -> T) throws(StoreError) -> T {
        do { return try body(queue) } catch { throw Self.storeError(error, path) }
    }

    /// Takes `count` numbers of a counter; answers the first.
    static func take(_ count: Int, _ counter: String, _ db: Database) throws -> Int64 {
        let next = try Int64.fetchOne(
            db, sql: "UPDATE counters SET next = next + ? WHERE name = ? RETURNING next", arguments: [count, counter])
        guard let next else {
            throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: "counter \(counter) is missing")
        }
        return next - Int64(count)
    }

    private static func storeError(_ error: any Error, _ path: String) -> StoreError {
        guard let error = error as? DatabaseError else {
            return StoreError(code: "damaged", message: "the registry \(path) holds something unreadable: \(error)")
        }
        let reason = error.message ?? "\(error.resultCode)"
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return StoreError(
                code: "damaged",
                message:
                    "the registry \(path) is damaged (\(reason)); "
                    + "restore it from a backup, or move it away and deploy again"
            )
        case .SQLITE_FULL:
            return StoreError(
                code: "disk_full", message: "no space to write the registry \(path); free some and try again")
        default:
            return StoreError(code: "io", message: "the registry \(path) cannot be used: \(reason)")
        }
    }
}

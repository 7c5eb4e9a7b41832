import FoundationEssentials
// The registry in one SQLite file. Write-ahead log with synchronous=FULL, so that a transaction that returned
// is on the disk, whatever dies next; GRDB sets NORMAL when it turns the log on, therefore FULL is set
// afterwards, explicitly. One connection: the registry is read whole at start and written seldom.
public import FunctionModel
import GRDB
import Glibc
import Synchronization

/// `RegistryStore` in `DIR/registry.sqlite`.
public final class SQLiteRegistry: RegistryStore {
    let queue: DatabaseQueue
    let path: String
    private let reserve: SpaceReserve
    /// Held during every use: SQLite does not survive a call on what was closed.
    private let isOpen = Mutex(true)

    /// Opens or makes the registry. The caller holds its `RegistryLock`.
    /// - Throws: `StoreError`; `damaged` when the file is no registry or does not hold together.
    public init(path: String) throws(StoreError) {
        self.path = path
        let reserve = SpaceReserve(path: Self.reservePath(path))
        self.reserve = reserve
        queue = try Self.spending(reserve) { () throws(StoreError) in try Self.open(path) }
        keepReserve()
    }

    private static func open(_ path: String) throws(StoreError) -> DatabaseQueue {
        keepPrivate(path)
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.foreignKeysEnabled = true
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.writeWithoutTransaction { db in
                // After opening: GRDB's own set-up of the log chooses NORMAL.
                try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024")
                let verdict = try String.fetchOne(db, sql: "PRAGMA quick_check(1)")
                guard verdict == "ok" else { throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: verdict) }
            }
            try migrator.migrate(queue)
            return queue
        } catch {
            throw storeError(error, path)
        }
    }

    /// SQLite makes files 0644 as far as the umask allows, and its log and shared memory like the registry itself.
    /// Before SQLite has opened them: closing a file lets go of the locks that a process has on it.
    private static func keepPrivate(_ path: String) {
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        if file >= 0 { Glibc.close(file) }
        for name in [path, path + "-wal", path + "-shm"] { chmod(name, 0o600) }
    }

    /// Takes the log into the registry and closes it; every later call fails. For the end of the process.
    public func close() {
        isOpen.withLock { isOpen in
            if isOpen { try? queue.close() }
            isOpen = false
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
        // Also on a full disk: this is what makes room on it.
        let removed = try Self.spending(reserve) { () throws(StoreError) in
            try run { queue in
                try queue.write { db in
                    try db.execute(sql: "DELETE FROM models WHERE name = ?", arguments: [model])
                    return db.changesCount > 0
                }
            }
        }
        keepReserve()
        return removed
    }

    public func reserveInstances(_ count: Int) throws(StoreError) -> Range<UInt64> {
        let first = try run { queue in try queue.write { try Self.take(count, "instance", $0) } }
        keepReserve()
        return UInt64(first)..<UInt64(first) + UInt64(count)
    }

    static func reservePath(_ path: String) -> String { path + "-reserve" }

    /// Runs `body`; when the disk is full, once more with the reserve's room.
    private static func spending<T>(
        _ reserve: SpaceReserve, _ body: () throws(StoreError) -> T
    ) throws(StoreError) -> T {
        do throws(StoreError) { return try body() } catch {
            guard error.code == "disk_full", reserve.giveBack() else { throw error }
            return try body()
        }
    }

    /// A removal writes at most every page of the registry to the log. Those of the last deployment may be in the
    /// log alone.
    func keepReserve() {
        let bytes = [path, path + "-wal"].reduce(0) { sum, name in
            var information = stat()
            return stat(name, &information) == 0 ? sum + Int(information.st_size) : sum
        }
        reserve.keep(bytes * 17 / 16 + (256 << 10))
    }

    func run<T: Sendable>(_ body: (DatabaseQueue) throws -> T) throws(StoreError) -> T {
        try isOpen.withLock { isOpen throws(StoreError) in
            guard isOpen else { throw StoreError(code: "io", message: "the registry \(path) is closed") }
            do { return try body(queue) } catch { throw Self.storeError(error, path) }
        }
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
        // Where the log's shared memory does not find room, SQLite speaks of an input error.
        if error.extendedResultCode == .SQLITE_IOERR_SHMSIZE { return full(path) }
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return StoreError(
                code: "damaged",
                message:
                    "the registry \(path) is damaged (\(reason)); "
                    + "restore it from a backup, or move it away and deploy again"
            )
        case .SQLITE_FULL: return full(path)
        default:
            return StoreError(code: "io", message: "the registry \(path) cannot be used: \(reason)")
        }
    }

    private static func full(_ path: String) -> StoreError {
        StoreError(code: "disk_full", message: "no space to write the registry \(path); free some and try again")
    }
}

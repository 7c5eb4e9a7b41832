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
    let reserve: SpaceReserve
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
        try refuseLoss(path)
        keepPrivate(path)
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.foreignKeysEnabled = true
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let found = try queue.read { try Int.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
            guard found <= schema else { throw newer(found, path) }
            try queue.writeWithoutTransaction { db in
                // After opening: GRDB's own set-up of the log chooses NORMAL.
                try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024")
                try checkStructure(db)
            }
            try migrator.migrate(queue)
            try queue.read(check)
            return queue
        } catch let error as StoreError {
            throw error
        } catch {
            throw storeError(error, path)
        }
    }

    /// An empty file is an empty registry to SQLite, and then nobody would need a single shard.
    private static func refuseLoss(_ path: String) throws(StoreError) {
        guard RegistryFiles.size(path) == 0 else { return }
        if let damaged = RegistryFiles.damaged(path) {
            throw StoreError(
                code: "damaged",
                message: "there is no registry \(path), but \(damaged) from a repair that did not end; run "
                    + "`locum repair`")
        }
        // Made when there was a registry, and removed only where a disk is full.
        guard RegistryFiles.size(reservePath(path)) == 0 else {
            throw StoreError(
                code: "damaged",
                message: "the registry \(path) is missing or empty, and \(reservePath(path)) shows that there was one: "
                    + "put it back from a copy, or remove both to begin with none and `locum restore` a backup")
        }
    }

    private static func newer(_ found: Int, _ path: String) -> StoreError {
        StoreError(
            code: "newer",
            message: "the registry \(path) has schema version \(found), made by a newer Locum; this one knows versions "
                + "up to \(schema). Run the newer one, or restore a backup into another data folder (--data)")
    }

    /// SQLite makes files 0644 as far as the umask allows, and its log and shared memory like the registry itself.
    /// Before SQLite has opened them: closing a file lets go of the locks that a process has on it.
    static func keepPrivate(_ path: String) {
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
            try write { db in
                try db.execute(sql: "DELETE FROM models WHERE name = ?", arguments: [model])
                return db.changesCount > 0
            }
        }
        keepReserve()
        return removed
    }

    public func reserveInstances(_ count: Int) throws(StoreError) -> Range<UInt64> {
        let first = try write { try Self.take(count, "instance", $0) }
        keepReserve()
        return UInt64(first)..<UInt64(first) + UInt64(count)
    }

    /// The next number of each kind.
    func counters() throws(StoreError) -> [String: Int64] {
        try run { queue in
            try queue.read { db in
                let rows = try Row.fetchAll(db, sql: "SELECT * FROM counters")
                return try Dictionary(
                    rows.map { (try $0.decode(String.self, forColumn: "name"), try $0.decode(forColumn: "next")) }
                ) { $1 }
            }
        }
    }

    static func reservePath(_ path: String) -> String { path + "-reserve" }

    /// Runs `body`; when the disk is full, once more with the reserve's room.
    static func spending<T>(
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
        reserve.keep((RegistryFiles.size(path) + RegistryFiles.size(path + "-wal")) * 17 / 16 + (256 << 10))
    }

    func run<T: Sendable>(_ body: (DatabaseQueue) throws -> T) throws(StoreError) -> T {
        try isOpen.withLock { isOpen throws(StoreError) in
            guard isOpen else { throw StoreError(code: "io", message: "the registry \(path) is closed") }
            do { return try body(queue) } catch { throw Self.storeError(error, path) }
        }
    }

    /// One transaction. When it cannot be made durable its bytes may stand whole at the end of the log all the same,
    /// and would count at the next start. So a transaction that only spends a number is written over them; where that
    /// fails, too, nobody knows.
    func write<T: Sendable>(_ body: (Database) throws -> T) throws(StoreError) -> T {
        do throws(StoreError) { return try run { try $0.write(body) } } catch {
            guard error.code == "io" else { throw error }
            do throws(StoreError) { _ = try run { try $0.write { try Self.take(1, "instance", $0) } } } catch let second
            {
                throw StoreError(
                    code: "in_doubt",
                    message:
                        "\(error.message), nor could that be undone (\(second.message)): whether it was done shows "
                        + "after a restart")
            }
            throw error
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

    static func storeError(_ error: any Error, _ path: String) -> StoreError {
        guard let error = error as? DatabaseError else {
            return damaged("it holds something unreadable: \(error)", path)
        }
        let reason = error.message ?? "\(error.resultCode)"
        // Where the log's shared memory does not find room, SQLite speaks of an input error.
        if error.extendedResultCode == .SQLITE_IOERR_SHMSIZE { return full(path) }
        switch error.resultCode {
        // A plain error is one of our own statements: it does not fit the tables that it finds.
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_ERROR: return damaged(reason, path)
        case .SQLITE_FULL: return full(path)
        default:
            return StoreError(code: "io", message: "the registry \(path) cannot be used: \(reason)")
        }
    }

    static func damaged(_ reason: String, _ path: String) -> StoreError {
        StoreError(
            code: "damaged",
            message:
                "the registry \(path) is damaged (\(reason)); end Locum and run `locum repair`, which saves what can "
                + "be read and says what is lost, or restore a backup into another data folder (--data)")
    }

    private static func full(_ path: String) -> StoreError {
        StoreError(code: "disk_full", message: "no space to write the registry \(path); free some and try again")
    }
}

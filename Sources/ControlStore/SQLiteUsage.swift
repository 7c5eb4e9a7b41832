// What was used, in a file of its own beside the registry: it is written every second while somebody uses the box, and when
// it is damaged the box goes on serving.
public import FunctionModel
import GRDB
import Glibc
import Synchronization

/// Amounts by hour, tenant, model and key, in `DIR/usage.sqlite`.
public final class SQLiteUsage: UsageStore {
    private enum State {
        /// To be opened at the next use.
        case waiting
        case open(DatabaseQueue)
        case closed
    }
    /// Held during every use: SQLite does not survive a call on what was closed.
    private let state = Mutex(State.waiting)
    private let path: String
    private let replaced: @Sendable (_ aside: String) -> Void

    /// Rows of hours longer ago are removed: 400 days.
    public static let keptSeconds: Int64 = 400 * 86_400

    /// The file is opened, or made, when it is used; if that fails, again at the next use.
    /// - Parameter replaced: called when it was damaged and a new one was begun, with the name that it has now.
    public init(path: String, replaced: @escaping @Sendable (_ aside: String) -> Void = { _ in }) {
        (self.path, self.replaced) = (path, replaced)
    }

    private func opened() throws(StoreError) -> DatabaseQueue {
        do throws(StoreError) { return try Self.open(path) } catch {
            guard error.code == "damaged" else { throw error }
            let aside = RegistryFiles.nextDamaged(path)
            for part in RegistryFiles.parts where RegistryFiles.exists(path + part) {
                try RegistryFiles.move(path + part, to: aside + part)
            }
            let queue = try Self.open(path)
            replaced(aside)
            return queue
        }
    }

    private static func open(_ path: String) throws(StoreError) -> DatabaseQueue {
        SQLiteRegistry.keepPrivate(path)
        var configuration = Configuration()
        configuration.journalMode = .wal
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -256")
                try SQLiteRegistry.checkStructure(db)
                try db.execute(
                    sql: """
                        CREATE TABLE IF NOT EXISTS usage (
                            hour INTEGER NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
                            requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
                            output_tokens INTEGER NOT NULL, expert_us INTEGER NOT NULL, kb_ms INTEGER NOT NULL,
                            cold_starts INTEGER NOT NULL,
                            PRIMARY KEY (hour, tenant, model, key)
                        ) STRICT, WITHOUT ROWID
                        """)
            }
            return queue
        } catch {
            throw failure(error, path)
        }
    }

    /// Takes the log into the file and closes it; every later call fails.
    public func close() {
        state.withLock { state in
            if case .open(let queue) = state { try? queue.close() }
            state = .closed
        }
    }

    public func add(_ amounts: [UsageKey: UsageCounts], now: Int64) throws(StoreError) {
        try run { db in
            for (key, counts) in amounts {
                try db.execute(
                    sql: """
                        INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
                        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
                        cached_tokens = cached_tokens + excluded.cached_tokens,
                        output_tokens = output_tokens + excluded.output_tokens,
                        expert_us = expert_us + excluded.expert_us, kb_ms = kb_ms + excluded.kb_ms,
                        cold_starts = cold_starts + excluded.cold_starts
                        """,
                    arguments: [
                        Self.hour(now), key.tenant, key.model, key.key, counts.requests, counts.promptTokens,
                        counts.cachedTokens, counts.outputTokens, counts.expertMicroseconds,
                        counts.kilobyteMilliseconds, counts.coldStarts,
                    ])
            }
            try db.execute(sql: "DELETE FROM usage WHERE hour < ?", arguments: [Self.hour(now - Self.keptSeconds)])
        }
    }

    public func sums(
        tenant: String?, from: Int64?, to: Int64?
    ) throws(StoreError) -> [(key: UsageKey, counts: UsageCounts)] {
        try run { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT tenant, model, key, sum(requests), sum(prompt_tokens), sum(cached_tokens), sum(output_tokens),
                    sum(expert_us), sum(kb_ms), sum(cold_starts) FROM usage
                    WHERE hour >= ? AND hour < ? AND (tenant = ? OR ? IS NULL)
                    GROUP BY tenant, model, key ORDER BY tenant, model, key
                    """, arguments: [from ?? 0, to ?? Int64.max, tenant, tenant])
            return rows.map { row in
                var counts = UsageCounts()
                (counts.requests, counts.promptTokens, counts.cachedTokens) = (row[3], row[4], row[5])
                (counts.outputTokens, counts.expertMicroseconds) = (row[6], row[7])
                (counts.kilobyteMilliseconds, counts.coldStarts) = (row[8], row[9])
                return (UsageKey(tenant: row[0], model: row[1], key: row[2]), counts)
            }
        }
    }

    public func hours(from: Int64) throws(StoreError) -> [UsageHour] {
        try run { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT hour, tenant, model, key, requests, prompt_tokens, cached_tokens, output_tokens, expert_us, kb_ms,
                    cold_starts FROM usage,
                    (SELECT min(hour) AS first FROM usage WHERE hour >= ?) WHERE hour >= first AND hour < first + 86400
                    ORDER BY hour, tenant, model, key
                    """, arguments: [from])
            return rows.map { row in
                var counts = UsageCounts()
                (counts.requests, counts.promptTokens, counts.cachedTokens) = (row[4], row[5], row[6])
                (counts.outputTokens, counts.expertMicroseconds) = (row[7], row[8])
                (counts.kilobyteMilliseconds, counts.coldStarts) = (row[9], row[10])
                return UsageHour(hour: row[0], UsageKey(tenant: row[1], model: row[2], key: row[3]), counts)
            }
        }
    }

    public func merge(_ hours: [UsageHour]) throws(StoreError) {
        try run { db in
            for hour in hours {
                try db.execute(
                    sql: """
                        INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT DO UPDATE SET requests = max(requests, excluded.requests),
                        prompt_tokens = max(prompt_tokens, excluded.prompt_tokens),
                        cached_tokens = max(cached_tokens, excluded.cached_tokens),
                        output_tokens = max(output_tokens, excluded.output_tokens),
                        expert_us = max(expert_us, excluded.expert_us), kb_ms = max(kb_ms, excluded.kb_ms),
                        cold_starts = max(cold_starts, excluded.cold_starts)
                        """,
                    arguments: [
                        hour.hour, hour.tenant, hour.model, hour.key, hour.requests, hour.promptTokens,
                        hour.cachedTokens, hour.outputTokens, hour.expertMicroseconds, hour.kilobyteMilliseconds,
                        hour.coldStarts,
                    ])
            }
        }
    }

    private static func hour(_ seconds: Int64) -> Int64 { max(0, seconds) / 3600 * 3600 }

    private func run<T: Sendable>(_ body: (Database) throws -> T) throws(StoreError) -> T {
        try state.withLock { state throws(StoreError) in
            let queue: DatabaseQueue
            switch state {
            case .open(let known): queue = known
            case .waiting:
                queue = try opened()
                state = .open(queue)
            case .closed: throw StoreError(code: "io", message: "the record of use \(path) is closed")
            }
            do { return try queue.write(body) } catch { throw Self.failure(error, path) }
        }
    }

    private static func failure(_ error: any Error, _ path: String) -> StoreError {
        let error = error as? DatabaseError ?? DatabaseError(resultCode: .SQLITE_ERROR, message: "\(error)")
        let reason = error.message ?? "\(error.resultCode)"
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_ERROR:
            return StoreError(code: "damaged", message: "the record of use \(path) is damaged: \(reason)")
        case .SQLITE_FULL:
            return StoreError(code: "disk_full", message: "no space to write the record of use \(path); free some")
        default: return StoreError(code: "io", message: "the record of use \(path) cannot be used: \(reason)")
        }
    }
}

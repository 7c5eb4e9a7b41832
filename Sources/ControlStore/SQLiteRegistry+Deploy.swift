import FoundationEssentials
// Deploying as one transaction: the old revision or the new one, never a mixture. A function that kept its name
// and its shard keeps its id, so that its instances live on; everything else gets ids that were never used.
public import FunctionModel
import GRDB

extension SQLiteRegistry {
    public func deploy(_ draft: ModelDraft) throws(StoreError) -> ModelRecord {
        let record = try run { queue in
            try queue.write { db in
                let old = try Row.fetchOne(db, sql: "SELECT * FROM models WHERE name = ?", arguments: [draft.name])
                    .map { try Self.model($0, db) }
                let record = try Self.record(draft, replacing: old, db)
                try Self.write(record, db)
                return record
            }
        }
        keepReserve()
        return record
    }

    private static func record(_ draft: ModelDraft, replacing old: ModelRecord?, _ db: Database) throws -> ModelRecord {
        var kept: [String: FunctionRecord] = [:]
        for function in old?.functions ?? [] { kept[function.name] = function }
        var functions = draft.manifest.functions.enumerated().map { index, function in
            FunctionRecord(
                id: 0, model: draft.name, index: index, name: "\(draft.name)/\(function.name)",
                runtime: function.runtime == "router" ? .router : .expert, digest: draft.digests[function.shard],
                bytes: function.bytes, experts: function.experts, node: draft.node)
        }
        for index in functions.indices {
            guard let before = kept[functions[index].name], before.digest == functions[index].digest else { continue }
            functions[index].id = before.id
        }
        let missing = functions.indices.filter { functions[$0].id == 0 }
        var next = try take(missing.count, "function", db)
        for index in missing {
            functions[index].id = UInt64(next)
            next += 1
        }
        return ModelRecord(
            name: draft.name, revision: (old?.revision ?? 0) + 1, manifest: draft.manifest, options: draft.options,
            deployedAt: draft.deployedAt, node: draft.node, functions: functions)
    }

    private static func write(_ record: ModelRecord, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM models WHERE name = ?", arguments: [record.name])
        try db.execute(
            sql: "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)",
            arguments: [
                record.name, record.revision, try text(record.manifest), try text(record.options), record.deployedAt,
                record.node,
            ])
        let insert = try db.makeStatement(sql: "INSERT INTO functions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        for function in record.functions {
            try insert.execute(arguments: [
                Int64(bitPattern: function.id), record.name, function.index, function.name, function.runtime.rawValue,
                Data(function.digest), function.bytes, function.experts, function.node,
            ])
        }
    }

    static func model(_ row: Row, _ db: Database) throws -> ModelRecord {
        let name: String = row["name"]
        let functions = try Row.fetchAll(
            db, sql: "SELECT * FROM functions WHERE model = ? ORDER BY position", arguments: [name]
        ).map { row in
            let digest: Data = row["digest"]
            let id: Int64 = row["id"]
            let runtime: String = row["runtime"]
            return FunctionRecord(
                id: UInt64(bitPattern: id), model: name, index: row["position"], name: row["name"],
                runtime: runtime == "router" ? .router : .expert, digest: Array(digest), bytes: row["bytes"],
                experts: row["experts"], node: row["node"])
        }
        let decoder = JSONDecoder()
        let (manifest, options): (String, String) = (row["manifest"], row["options"])
        return ModelRecord(
            name: name, revision: row["revision"],
            manifest: try decoder.decode(ImportManifest.self, from: Data(manifest.utf8)),
            options: try decoder.decode(DeployRecord.self, from: Data(options.utf8)), deployedAt: row["deployed_at"],
            node: row["node"], functions: functions)
    }

    private static func text(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}

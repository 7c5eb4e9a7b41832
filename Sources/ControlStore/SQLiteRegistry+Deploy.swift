import FoundationEssentials
// Deploying as one transaction: the old revision or the new one, never a mixture. A function that kept its name
// and its shard keeps its id, so that its instances live on; everything else gets ids that were never used.
public import FunctionModel
import GRDB

extension SQLiteRegistry {
    public func deploy(_ draft: ModelDraft) throws(StoreError) -> ModelRecord {
        let record: ModelRecord? = try write { db in
            if let owner = ModelName.owner(of: draft.name), try !Self.isTenant(owner, db) { return nil }
            let old = try Row.fetchOne(db, sql: "SELECT * FROM models WHERE name = ?", arguments: [draft.name])
                .map { try Self.model($0, db) }
            let record = try Self.record(draft, replacing: old, db)
            try Self.write(record, db)
            return record
        }
        guard let record else {
            throw StoreError(
                code: "no_tenant", message: "the tenant whose \(draft.name) was to be is not there any more")
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

    static func write(_ record: ModelRecord, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM models WHERE name = ?", arguments: [record.name])
        try db.execute(
            sql: "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, 0)",
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
        try sign(record.name, db)
    }

    static func model(_ row: Row, _ db: Database) throws -> ModelRecord {
        let name = try row.decode(String.self, forColumn: "name")
        let functions = try functions(of: name, db)
        guard try row.decode(Int64.self, forColumn: "checksum") == checksum(row, functions) else {
            throw corrupt("what it says of model \(name) does not agree with its checksum")
        }
        return try model(row, functions)
    }

    /// The record that rows hold, whatever they say; nothing traps on a value of another type.
    static func model(_ row: Row, _ functions: [Row]) throws -> ModelRecord {
        let name = try row.decode(String.self, forColumn: "name")
        let records = try functions.map { function in
            FunctionRecord(
                id: UInt64(bitPattern: try function.decode(Int64.self, forColumn: "id")), model: name,
                index: try function.decode(forColumn: "position"), name: try function.decode(forColumn: "name"),
                runtime: try function.decode(String.self, forColumn: "runtime") == "router" ? .router : .expert,
                digest: Array(try function.decode(Data.self, forColumn: "digest")),
                bytes: try function.decode(forColumn: "bytes"), experts: try function.decode(forColumn: "experts"),
                node: try function.decode(forColumn: "node"))
        }
        let decoder = JSONDecoder()
        let manifest = Data(try row.decode(String.self, forColumn: "manifest").utf8)
        let options = Data(try row.decode(String.self, forColumn: "options").utf8)
        return ModelRecord(
            name: name, revision: try row.decode(forColumn: "revision"),
            manifest: try decoder.decode(ImportManifest.self, from: manifest),
            options: try decoder.decode(DeployRecord.self, from: options),
            deployedAt: try row.decode(forColumn: "deployed_at"), node: try row.decode(forColumn: "node"),
            functions: records)
    }

    static func text(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}

// Tenants and keys in the registry: as durable, and as well guarded against damage, as models.
import FunctionModel
import GRDB
import Glibc
import Testing

@testable import ControlStore

@Suite("Tenants in the registry") struct TenantTests {
    private func tenant(_ name: String, keys: Int = 2) -> TenantRecord {
        TenantRecord(
            name: name,
            limits: TenantLimits(
                weight: 3, priority: .batch, maxRequests: 4, queue: 5, tokensPerMinute: 6, models: ["m"]),
            createdAt: 7,
            keys: (0..<keys).map { index in
                KeyRecord(
                    id: "locum-\(name)\(index)",
                    hash: Array(name.utf8.prefix(1)) + [UInt8](repeating: UInt8(index), count: 31),
                    createdAt: 8, lastUsed: index == 0 ? nil : 9)
            })
    }

    @Test("What is written is there after the registry was opened again, and goes with its keys")
    func survives() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let (a, b) = (tenant("a"), tenant("b", keys: 0))
            let registry = try SQLiteRegistry(path: path)
            try registry.write(b)
            try registry.write(a)
            registry.close()
            let again = try SQLiteRegistry(path: path)
            #expect(try again.tenants() == [a, b])
            var changed = a
            changed.limits = TenantLimits()
            changed.keys.removeFirst()
            try again.write(changed)
            #expect(try again.tenants() == [changed, b])
            #expect(try again.remove(tenant: "a") && !again.remove(tenant: "a"))
            #expect(try again.tenants() == [b])
            #expect(try again.queue.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM keys") } == 0)
        }
    }

    @Test("A model has its tenant for as long as it is there, and a repair leaves none without")
    func owners() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let registry = try SQLiteRegistry(path: path)
            func code(_ body: () throws -> Void) -> String? { #expect(throws: StoreError.self, performing: body)?.code }
            #expect(code { _ = try registry.deploy(draft("m@a")) } == "no_tenant")
            try registry.write(tenant("a"))
            try registry.write(tenant("b"))
            let model = try registry.deploy(draft("m@a"))
            #expect(code { _ = try registry.remove(tenant: "a") } == "in_use")
            #expect(try registry.remove(tenant: "b"))
            // Writing it anew leaves its models alone.
            try registry.write(tenant("a", keys: 1))
            #expect(try registry.models() == [model] && registry.tenants().count == 1)
            try registry.queue.write { try $0.execute(sql: "DELETE FROM tenants") }
            registry.close()
            #expect(code { _ = try SQLiteRegistry(path: path) } == "damaged")
            let repair = try RegistryRepair(path: path)
            #expect(repair.damage?.contains("no tenant a") == true)
            _ = try repair.replace(keeping: repair.models)
            let again = try SQLiteRegistry(path: path)
            let bare = try again.tenants()
            #expect(try again.models() == [model])
            #expect(bare.map(\.name) == ["a"] && bare[0].keys.isEmpty && bare[0].limits.models == [])
        }
    }

    @Test("Two tenants never have the same key")
    func unique() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            try registry.write(tenant("a"))
            var thief = tenant("b", keys: 0)
            thief.keys = [KeyRecord(id: "locum-other", hash: tenant("a").keys[0].hash, createdAt: 1)]
            #expect(throws: StoreError.self) { try registry.write(thief) }
            #expect(try registry.tenants() == [tenant("a")])
        }
    }

    @Test(
        "A row that was altered is refused, and a repair says whose it was and saves the others",
        arguments: [
            "UPDATE tenants SET limits = replace(limits, '\"weight\":3', '\"weight\":9') WHERE name = 'b'",
            "UPDATE keys SET hash = zeroblob(32) WHERE id = 'locum-b1'", "DELETE FROM keys WHERE id = 'locum-b0'",
            "INSERT INTO keys VALUES ('locum-x', 'b', randomblob(32), 1, NULL)",
        ])
    func altered(_ sql: String) throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let registry = try SQLiteRegistry(path: path)
            let model = try registry.deploy(draft())
            for name in ["a", "b", "c"] { try registry.write(tenant(name)) }
            try registry.queue.write { try $0.execute(sql: sql) }
            registry.close()
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.code == "damaged" && error?.message.contains("tenant b") == true)
            let repair = try RegistryRepair(path: path)
            #expect(repair.tenants == [tenant("a"), tenant("c")] && repair.models == [model])
            #expect(repair.lost.map(\.model) == ["tenant b"])
            _ = try repair.replace(keeping: repair.models)
            let repaired = try SQLiteRegistry(path: path)
            #expect(try repaired.tenants() == [tenant("a"), tenant("c")] && repaired.models() == [model])
        }
    }

    private func operatorKey(_ id: String, _ role: OperatorRole) -> OperatorKey {
        let hash = Array(id.utf8.suffix(1)) + [UInt8](repeating: 9, count: 31)
        return OperatorKey(role: role, key: KeyRecord(id: id, hash: hash, createdAt: 3, lastUsed: 4))
    }

    @Test("The operator's keys are there after the registry was opened again")
    func operatorKeys() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let keys = [operatorKey("locum-a", .admin), operatorKey("locum-m", .metrics)]
            let registry = try SQLiteRegistry(path: path)
            #expect(try registry.operatorKeys().isEmpty)
            try registry.write(keys)
            registry.close()
            let again = try SQLiteRegistry(path: path)
            #expect(try again.operatorKeys() == keys)
            try again.write([keys[1]])
            #expect(try again.operatorKeys() == [keys[1]])
            #expect(throws: StoreError.self) { try again.write([keys[1], keys[1]]) }
            #expect(try again.operatorKeys() == [keys[1]])
        }
    }

    @Test(
        "An operator's key that was altered is refused; a repair saves the others, and closes the API where none is left",
        arguments: [
            ("UPDATE operator_keys SET role = 'admin' WHERE id = 'locum-m'", ["locum-m"], false),
            ("UPDATE operator_keys SET hash = zeroblob(32) WHERE id = 'locum-a'", ["locum-a"], false),
            ("UPDATE operator_keys SET created_at = 1", ["locum-a", "locum-m"], true),
        ])
    func alteredOperatorKey(_ sql: String, _ lost: [String], _ closes: Bool) throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let registry = try SQLiteRegistry(path: path)
            let keys = [operatorKey("locum-a", .admin), operatorKey("locum-m", .metrics)]
            try registry.write(keys)
            try registry.queue.write { try $0.execute(sql: sql) }
            registry.close()
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.code == "damaged" && error?.message.contains(lost[0]) == true)
            let repair = try RegistryRepair(path: path)
            #expect(repair.operatorKeys == keys.filter { !lost.contains($0.key.id) } && repair.closes == closes)
            #expect(Set(repair.lost.map(\.model)) == Set(lost.map { "key \($0)" }))
            _ = try repair.replace(keeping: [])
            let repaired = try SQLiteRegistry(path: path)
            #expect(try repaired.operatorKeys() == repair.operatorKeys)
            #expect(try repaired.tenants().map(\.name) == (closes ? [RegistryRepair.closing] : []))
        }
    }

    @Test("A registry of before there were tenants gets their tables")
    func migrates() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let registry = try SQLiteRegistry(path: path)
            let model = try registry.deploy(draft())
            try registry.queue.write { db in
                try db.execute(
                    sql: """
                        DROP TABLE keys; DROP TABLE tenants; DROP TABLE operator_keys; PRAGMA user_version = 2;
                        DELETE FROM grdb_migrations WHERE identifier IN ('tenants and keys', 'keys of the operator')
                        """)
            }
            registry.close()
            let again = try SQLiteRegistry(path: path)
            #expect(try again.tenants().isEmpty && again.models() == [model])
            try again.write(tenant("a"))
            #expect(try again.operatorKeys().isEmpty)
            try again.write([operatorKey("locum-a", .admin)])
        }
    }
}

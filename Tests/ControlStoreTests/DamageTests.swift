// A registry that was altered from outside: it is refused by name, or it is what it was. And what a repair saves of it.
import FunctionModel
import GRDB
import Glibc
import SeededRandom
import Testing

@testable import ControlStore

@Suite struct DamageTests {
    /// Closed, so that one file holds everything.
    private func made(_ path: String, models: Int = 3, experts: Int = 40) throws -> [ModelRecord] {
        let registry = try SQLiteRegistry(path: path)
        for number in 0..<models { _ = try registry.deploy(draft("model-\(number)", experts: experts)) }
        let models = try registry.models()
        registry.close()
        return models
    }

    private func bytes(_ path: String) throws -> [UInt8] {
        let file = open(path, O_RDONLY)
        try #require(file >= 0)
        defer { close(file) }
        var information = stat()
        fstat(file, &information)
        var bytes = [UInt8](repeating: 0, count: Int(information.st_size))
        #expect(read(file, &bytes, bytes.count) == bytes.count)
        return bytes
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(file >= 0)
        defer { close(file) }
        #expect(Glibc.write(file, bytes, bytes.count) == bytes.count)
    }

    @Test("Altered bytes are found at the start, or change nothing that is said", .timeLimit(.minutes(2)))
    func altered() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let models = try made(path)
            let sound = try bytes(path)
            var random = SplitMix64(7)
            var refused = 0
            for _ in 0..<150 {
                var damaged = sound
                // A few bytes, a run of zeros, or a page of another place.
                let at = Int.random(in: 0..<sound.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    for index in at..<min(at + 3, sound.count) {
                        damaged[index] ^= .random(in: 1...255, using: &random)
                    }
                case 1: for index in at..<min(at + 600, sound.count) { damaged[index] = 0 }
                default:
                    let (from, to) = (Int.random(in: 0..<sound.count / 4096, using: &random) * 4096, at / 4096 * 4096)
                    damaged.replaceSubrange(to..<to + 4096, with: sound[from..<from + 4096])
                }
                try write(damaged, to: path)
                do {
                    let registry = try SQLiteRegistry(path: path)
                    #expect(try registry.models() == models, "damage at \(at)")
                    registry.close()
                } catch let error as StoreError {
                    refused += 1
                    // `io`: the header says that it cannot be written.
                    #expect(["damaged", "newer", "io"].contains(error.code), "\(error)")
                    #expect(error.message.contains(path))
                    // A repair says what is lost and saves nothing that is not as it was.
                    if error.code != "newer" {
                        let repair = try RegistryRepair(path: path)
                        #expect(repair.damage != nil)
                        for model in repair.models { #expect(models.contains(model)) }
                    }
                }
                for part in ["-wal", "-shm"] { unlink(path + part) }
            }
            #expect(refused > 50)
        }
    }

    @Test("A repair keeps what is whole, names what is lost, and leaves the damaged registry beside the new one")
    func repair() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let models = try made(path)
            // One byte of one digest.
            let damaged = try DatabaseQueue(path: path)
            try damaged.write {
                try $0.execute(
                    sql: "UPDATE functions SET digest = zeroblob(32) WHERE model = 'model-1' AND position = 7")
            }
            try damaged.close()
            #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            let before = try bytes(path)
            let repair = try RegistryRepair(path: path)
            #expect(try bytes(path) == before)
            #expect(repair.models == [models[0], models[2]])
            #expect(repair.lost.map(\.model) == ["model-1"])
            let aside = try repair.replace(keeping: repair.models)
            #expect(aside == "\(path).damaged-1")
            let registry = try SQLiteRegistry(path: path)
            #expect(try registry.models() == [models[0], models[2]])
            // Numbers go on where they were.
            let ids = Set(models.flatMap(\.functions).map(\.id))
            #expect(try Set(registry.deploy(draft("new")).functions.map(\.id)).isDisjoint(with: ids))
            registry.close()
            #expect(try RegistryRepair(path: path).damage == nil)
            #expect(
                files(in: folder) == ["registry.sqlite", "registry.sqlite-reserve", "registry.sqlite.damaged-1"])
        }
    }

    @Test("A repair that was cut off is not taken for an empty registry, and the next one ends it")
    func cutOff() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let models = try made(path)
            rename(path, "\(path).damaged-1")
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.message.contains("locum repair") == true)
            let repair = try RegistryRepair(path: path)
            #expect(repair.models == models && repair.damage != nil)
            #expect(try repair.replace(keeping: models) == "\(path).damaged-1")
            #expect(try SQLiteRegistry(path: path).models() == models)
        }
    }

    @Test("A registry that was cut to nothing or taken away is missed", arguments: [true, false])
    func missing(isThere: Bool) throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            _ = try made(path)
            if isThere { truncate(path, 0) } else { unlink(path) }
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.code == "damaged" && error?.message.contains(path) == true)
            #expect(throws: StoreError.self) { try RegistryRepair(path: path) }
        }
    }

    @Test("A newer registry is refused by name and number")
    func newer() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            _ = try made(path)
            let queue = try DatabaseQueue(path: path)
            try queue.write { try $0.execute(sql: "PRAGMA user_version = 93") }
            try queue.close()
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.code == "newer")
            #expect(error?.message.contains(path) == true && error?.message.contains("version 93") == true)
        }
    }

    @Test("A registry of the first version is brought up to date with all that is in it")
    func older() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let models = try made(path)
            // As the first version left it.
            let queue = try DatabaseQueue(path: path)
            try queue.write { db in
                try db.execute(
                    sql: """
                        ALTER TABLE models DROP COLUMN checksum;
                        DROP TABLE keys;
                        DROP TABLE tenants;
                        DROP TABLE operator_keys;
                        DELETE FROM grdb_migrations WHERE identifier != 'models, functions, counters';
                        PRAGMA user_version = 0;
                        """)
            }
            try queue.close()
            let registry = try SQLiteRegistry(path: path)
            #expect(try registry.models() == models)
            #expect(
                try registry.queue.read { try Int.fetchOne($0, sql: "PRAGMA user_version") } == SQLiteRegistry.schema)
        }
    }
}

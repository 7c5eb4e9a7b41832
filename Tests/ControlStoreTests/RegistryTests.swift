// The registry under redeployment, removal, and a process that dies in the middle of things.
import FunctionModel
import GRDB
import Glibc
import Testing

@testable import ControlStore

/// A folder of its own, removed afterwards.
func withFolder<T>(_ body: (String) throws -> T) throws -> T {
    var template = Array("/tmp/locum-registry-XXXXXX".utf8CString)
    let path = try #require(
        template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }.map { String(cString: $0) })
    defer {
        for name in files(in: path) { unlink("\(path)/\(name)") }
        rmdir(path)
    }
    return try body(path)
}

func files(in folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        names.append(
            withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names.filter { $0 != "." && $0 != ".." }.sorted()
}

/// A draft with a router and `experts` expert functions; `seed` is in every digest but those in `changed`.
func draft(_ name: String = "m", experts: Int = 3, changed: Set<Int> = [], context: Int = 128) -> ModelDraft {
    let functions = (0...experts).map { index in
        ImportManifest.Function(
            name: index == 0 ? "router" : "L00-E00\(index - 1)", runtime: index == 0 ? "router" : "expert",
            shard: index,
            bytes: 4096, experts: index == 0 ? 0 : 1)
    }
    let manifest = ImportManifest(
        architecture: "qwen2_moe", parameters: 1000, sourceFormat: "gguf", quantization: "Q8_0", context: context,
        kvType: "f16", hidden: 64, layers: 1, experts: experts, expertsPerToken: 2, vocabulary: 100,
        hasChatTemplate: true, functions: functions, bytes: 4096 * (experts + 1))
    let digests = (0...experts).map { index in
        [UInt8](repeating: UInt8(index + 1 + (changed.contains(index) ? 100 : 0)), count: 32)
    }
    return ModelDraft(
        name: name, manifest: manifest,
        options: DeployRecord(expertsPerFunction: 1, layersPerFunction: 1, quantize: "", context: 0, kvType: "f16"),
        digests: digests, deployedAt: 1_700_000_000, node: "node-1")
}

@Suite struct RegistryTests {
    @Test("What is deployed is there after the registry was opened again")
    func survives() throws {
        try withFolder { folder in
            let record = try SQLiteRegistry(path: "\(folder)/registry.sqlite").deploy(draft())
            #expect(record.revision == 1)
            #expect(record.functions.map(\.name) == ["m/router", "m/L00-E000", "m/L00-E001", "m/L00-E002"])
            #expect(record.functions.first?.runtime == .router)
            #expect(try SQLiteRegistry(path: "\(folder)/registry.sqlite").models() == [record])
        }
    }

    @Test("A function that keeps name and shard keeps its id; a changed one gets an id that was never used")
    func idsAreStable() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            let first = try registry.deploy(draft())
            let second = try registry.deploy(draft(changed: [2]))
            #expect(second.revision == 2)
            for index in [0, 1, 3] { #expect(second.functions[index].id == first.functions[index].id) }
            #expect(!first.functions.map(\.id).contains(second.functions[2].id))
            #expect(try registry.models() == [second])
        }
    }

    @Test("Removing a model removes its functions, and its ids do not come back")
    func removal() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            let first = try registry.deploy(draft())
            #expect(try registry.remove(model: "m"))
            #expect(try !registry.remove(model: "m"))
            #expect(try registry.models().isEmpty)
            let again = try registry.deploy(draft())
            #expect(again.revision == 1)
            #expect(Set(again.functions.map(\.id)).isDisjoint(with: first.functions.map(\.id)))
        }
    }

    @Test("Two models live side by side, in order of name")
    func twoModels() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            let b = try registry.deploy(draft("b"))
            let a = try registry.deploy(draft("a"))
            #expect(try registry.models() == [a, b])
        }
    }

    @Test("Instance numbers are never given out twice, also not after a restart")
    func instanceNumbers() throws {
        try withFolder { folder in
            let one = try SQLiteRegistry(path: "\(folder)/registry.sqlite").reserveInstances(100)
            let two = try SQLiteRegistry(path: "\(folder)/registry.sqlite").reserveInstances(100)
            #expect(one.count == 100 && two.count == 100)
            #expect(!one.overlaps(two))
        }
    }

    @Test("Every commit is flushed: write-ahead log with synchronous=FULL")
    func durability() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            _ = try registry.deploy(draft())
            let (mode, level) = try registry.queue.read { db in
                (try String.fetchOne(db, sql: "PRAGMA journal_mode"), try Int.fetchOne(db, sql: "PRAGMA synchronous"))
            }
            #expect(mode == "wal")
            #expect(level == 2)
        }
    }

    @Test("A deployment that fails midway leaves the old revision")
    func atomic() throws {
        try withFolder { folder in
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            let first = try registry.deploy(draft())
            var bad = draft(changed: [1, 2])
            bad.digests[3] = [1, 2, 3]
            #expect(throws: StoreError.self) { try registry.deploy(bad) }
            #expect(try registry.models() == [first])
        }
    }

    @Test("Nobody else may read the registry, its log, or one made by an older version")
    func isPrivate() throws {
        try withFolder { folder in
            let before = umask(0)
            defer { umask(before) }
            let path = "\(folder)/registry.sqlite"
            close(open(path, O_RDWR | O_CREAT, 0o644))
            let registry = try SQLiteRegistry(path: path)
            _ = try registry.deploy(draft())
            for name in [path, "\(path)-wal", "\(path)-shm", "\(path)-reserve"] {
                var information = stat()
                #expect(stat(name, &information) == 0)
                #expect(information.st_mode & 0o777 == 0o600, "\(name)")
            }
        }
    }

    @Test("Closing takes the log into the registry: one file holds everything")
    func closing() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let registry = try SQLiteRegistry(path: path)
            let record = try registry.deploy(draft())
            #expect(access("\(path)-wal", F_OK) == 0)
            registry.close()
            #expect(access("\(path)-wal", F_OK) != 0)
            #expect(access("\(path)-shm", F_OK) != 0)
            #expect(throws: StoreError.self) { try registry.models() }
            #expect(try SQLiteRegistry(path: path).models() == [record])
        }
    }

    @Test("A damaged registry is refused with its path and what to do")
    func damaged() throws {
        try withFolder { folder in
            let path = "\(folder)/registry.sqlite"
            let bytes = [UInt8](repeating: 0x41, count: 8192)
            let file = open(path, O_WRONLY | O_CREAT, 0o600)
            #expect(write(file, bytes, bytes.count) == bytes.count)
            close(file)
            let error = #expect(throws: StoreError.self) { try SQLiteRegistry(path: path) }
            #expect(error?.code == "damaged")
            #expect(error?.message.contains(path) == true)
        }
    }
}

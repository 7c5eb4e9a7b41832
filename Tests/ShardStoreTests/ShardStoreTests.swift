// The store under good and bad luck: what it takes, what it refuses, and what is left on disk afterwards.
import Glibc
import Syscall
import Testing

@testable import ShardStore

/// A folder of its own, removed afterwards.
func withFolder<T>(in parent: String = "/tmp", _ body: (String) throws -> T) throws -> T {
    var template = Array("\(parent)/locum-store-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
        for folder in ["shards", "tmp"] {
            for name in names("\(path)/\(folder)") { unlink("\(path)/\(folder)/\(name)") }
            rmdir("\(path)/\(folder)")
        }
        rmdir(path)
    }
    return try body(path)
}

func names(_ folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var found: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if !name.hasPrefix(".") { found.append(name) }
    }
    return found.sorted()
}

/// The store's error that `body` ends with, nil when it does not.
func failure(_ body: () throws -> Void) -> ShardStoreError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ShardStoreError
    }
}

func makeStore(_ path: String) throws -> ShardStore {
    try ShardStore(folder: "\(path)/shards", temporary: "\(path)/tmp")
}

func fill(_ shard: TemporaryShard, _ bytes: [UInt8]) throws {
    let file = try #require(shard.writable)
    #expect(pwrite(file.raw, bytes, bytes.count, 0) == bytes.count)
}

func finish(_ hashing: ShardHashing) throws -> ShardDigest {
    while true { if let digest = try hashing.step() { return digest } }
}

func add(_ bytes: [UInt8], to store: ShardStore) throws -> (digest: ShardDigest, isNew: Bool) {
    let shard = try store.createTemporary(length: UInt64(bytes.count))
    try fill(shard, bytes)
    let digest = try finish(try shard.seal())
    return (digest, try store.commit(shard, as: digest))
}

@Suite struct ShardStoreTests {
    @Test("A digest is written as 64 lower-case digits and read back; anything else is no digest")
    func digests() throws {
        let digest = try #require(ShardDigest((0..<32).map { UInt8($0 * 7 & 255) }))
        #expect(digest.hex.utf8.count == 64)
        #expect(ShardDigest(hex: digest.hex) == digest)
        #expect(ShardDigest([1, 2, 3]) == nil)
        #expect(ShardDigest(hex: digest.hex.uppercased()) == nil)
        #expect(ShardDigest(hex: String(digest.hex.dropLast())) == nil)
        #expect(ShardDigest(hex: String(repeating: "g", count: 64)) == nil)
    }

    @Test("A shard is stored under the SHA-256 of its bytes, once, and read back")
    func stores() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let first = try add(Array("abc".utf8), to: store)
            #expect(first.isNew)
            #expect(first.digest.hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            #expect(try !add(Array("abc".utf8), to: store).isNew)
            #expect(store.has(first.digest))
            let opened = try store.open(first.digest)
            #expect(opened.length == 3)
            #expect(fcntl(opened.file.raw, F_GETFL) & O_ACCMODE == O_RDONLY)
            try store.flush()
            #expect(names("\(path)/shards") == [first.digest.hex])
            #expect(names("\(path)/tmp") == [])
        }
    }

    @Test("A file larger than a slice is hashed over several steps with the right result")
    func slices() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let bytes = [UInt8](repeating: 0x61, count: 3 * ShardHashing.slice + 12345)
            let shard = try store.createTemporary(length: UInt64(bytes.count))
            try fill(shard, bytes)
            let hashing = try shard.seal()
            var steps = 1
            while try hashing.step() == nil { steps += 1 }
            #expect(steps == 4)
        }
    }

    @Test("A writer that keeps its descriptor cannot finish: what is hashed is what stays")
    func stillOpen() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let shard = try store.createTemporary(length: 3)
            try fill(shard, [1, 2, 3])
            let kept = try #require(shard.writable)
            #expect(failure { _ = try shard.seal() }?.code == "still_open")
            withExtendedLifetime(kept) {}
        }
    }

    @Test("A file shorter or longer than announced is refused")
    func lengths() throws {
        try withFolder { path in
            let store = try makeStore(path)
            for actual in [2, 4] as [off_t] {
                let shard = try store.createTemporary(length: 3)
                ftruncate(try #require(shard.writable).raw, actual)
                shard.handOver()
                let hashing = try shard.seal()
                #expect(failure { _ = try finish(hashing) }?.code == "digest_mismatch")
            }
        }
    }

    @Test("What was not committed is gone, with the object and with the next start")
    func leftovers() throws {
        try withFolder { path in
            var store = try makeStore(path)
            var shard: TemporaryShard? = try store.createTemporary(length: 10)
            #expect(names("\(path)/tmp").count == 1)
            withExtendedLifetime(shard) {}
            shard = nil
            #expect(names("\(path)/tmp") == [])
            // A crash leaves the file.
            let lost = open("\(path)/tmp/shard-1-1", O_CREAT | O_WRONLY, 0o600)
            close(lost)
            store = try makeStore(path)
            #expect(names("\(path)/tmp") == [])
        }
    }

    @Test("Only what is retained stays; files of others are left alone")
    func retain() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let kept = try add([1], to: store).digest
            let dropped = try add([2], to: store).digest
            let damaged = try add([3], to: store).digest
            try store.quarantine(damaged)
            #expect(!store.has(damaged))
            close(open("\(path)/shards/README", O_CREAT | O_WRONLY, 0o600))
            let collection = try store.collect(keeping: [kept])
            while collection.step() {}
            #expect(names("\(path)/shards") == [kept.hex, "README"].sorted())
            #expect(!store.has(dropped))
        }
    }

    @Test("A missing shard says so, and what to do")
    func missing() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let digest = try #require(ShardDigest([UInt8](repeating: 9, count: 32)))
            let error = try #require(failure { _ = try store.open(digest) })
            #expect(error.code == "shard_missing")
            #expect(error.message.contains(digest.hex) && error.message.contains("deploy"))
        }
    }

    @Test("A damaged file of the same length is found by hashing; one of another length is replaced")
    func damage() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let digest = try add([1, 2, 3, 4], to: store).digest
            let file = "\(path)/shards/\(digest.hex)"
            chmod(file, 0o600)
            let raw = open(file, O_WRONLY)
            pwrite(raw, [9], 1, 2)
            let (opened, length) = try store.open(digest)
            #expect(try finish(ShardHashing(opened, length: length)) != digest)
            ftruncate(raw, 2)
            close(raw)
            #expect(try add([1, 2, 3, 4], to: store).isNew)
            let again = try store.open(digest)
            #expect(try finish(ShardHashing(again.file, length: again.length)) == digest)
        }
    }

    @Test("A shard that does not fit is refused before it is written, with path and numbers")
    func tooLarge() throws {
        try withFolder { path in
            let store = try makeStore(path)
            let lengths: [UInt64] = [.max, UInt64(Int64.max), 1 << 60]
            for length in lengths {
                let error = try #require(failure { _ = try store.createTemporary(length: length) })
                #expect(error.code == "disk_full")
                #expect(error.message.contains("\(length)") && error.message.contains("\(path)/tmp"))
            }
            #expect(names("\(path)/tmp") == [])
        }
    }

    @Test("Resident pages are counted and let go of (on a disk: a file system in memory keeps them)")
    func residency() throws {
        try withFolder(in: "/var/tmp") { path in
            let store = try makeStore(path)
            let digest = try add([UInt8](repeating: 5, count: 64 << 10), to: store).digest
            let opened = try store.open(digest)
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            #expect(pread(opened.file.raw, &buffer, buffer.count, 0) == buffer.count)
            #expect(store.residentBytes(of: digest) == 64 << 10)
            store.releasePages(of: digest)
            #expect(store.residentBytes(of: digest) == 0)
        }
    }
}

// Shards come out of a store that names them by digest, so damage is unlikely; but a worker maps what it is
// given and computes with pointers into it, so nothing damaged may pass.
import Kernels
import Shard
import Testing

@Suite struct HostileShardTests {
    /// A valid expert shard with `edit` applied.
    private func refused(_ what: Comment, _ edit: (inout [UInt8]) -> Void) throws {
        var bytes = shardBytes(try expertPlan())
        edit(&bytes)
        let pages = PageBytes(bytes)
        #expect(throws: ShardError.self, what) { try ShardView(validating: pages.raw) }
    }

    private func put(_ value: UInt32, at offset: Int) -> (inout [UInt8]) -> Void {
        { bytes in for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) } }
    }

    @Test("A lying header is refused")
    func headers() throws {
        try refused("magic") { $0[0] = 0x4D }
        try refused("an earlier version", put(1, at: 8))
        try refused("a later version", put(3, at: 8))
        try refused("kind", put(3, at: 12))
        try refused("kind of another shard", put(1, at: 12))
        try refused("too many entries", put(.max, at: 16))
        try refused("one entry more", put(7, at: 16))
        try refused("one entry less", put(5, at: 16))
        try refused("hidden size", put(128, at: 20))
        try refused("intermediate size", put(64, at: 24))
        try refused("experts", put(3, at: 28))
        try refused("length", put(4096, at: 32))
        try refused("appended bytes") { $0 += [UInt8](repeating: 0, count: 4096) }
    }

    @Test("A lying table entry is refused")
    func entries() throws {
        let entry = 64 + 40
        try refused("unknown role", put(99, at: entry))
        try refused("role of a router", put(18, at: entry))
        try refused("twin of the one before", put(64, at: entry))
        try refused("layer of an expert", put(1, at: entry + 4))
        try refused("expert out of order", put(7, at: entry + 8))
        try refused("unknown format", put(17, at: entry + 12))
        try refused("other format", put(0, at: entry + 12))
        try refused("no rows", put(0, at: entry + 16))
        try refused("huge rows", put(.max, at: entry + 16))
        try refused("huge cols", put(.max, at: entry + 20))
        try refused("offset within the entry before", put(4096, at: entry + 24))
        try refused("misaligned offset", put(12289, at: entry + 24))
        try refused("offset beyond the file", put(.max - 4095, at: entry + 24))
        try refused("offset beyond any file", put(.max, at: entry + 28))
        try refused("short length", put(4095, at: entry + 32))
        try refused("negative length", put(.max, at: entry + 36))
    }

    @Test("A shard cut off at any length is refused")
    func truncation() throws {
        let bytes = shardBytes(try expertPlan(count: 1))
        for length in Array(0..<700) + Array(stride(from: 700, to: bytes.count, by: 509)) {
            let pages = PageBytes(Array(bytes[..<length]))
            #expect(throws: ShardError.self) { try ShardView(validating: pages.raw) }
        }
    }

    @Test("The table of an earlier layout is checked as strictly before it is rewritten")
    func older() throws {
        // Of one format that has the same length in both layouts.
        let gate = ShardContent(.expertGate, format: .q4_1, rows: 32, cols: 64)
        let up = ShardContent(.expertUp, format: .q4_1, rows: 32, cols: 64)
        let down = ShardContent(.expertDown, format: .q4_1, rows: 64, cols: 32)
        let today = shardBytes(
            try ShardPlan(kind: .expert(hidden: 64, intermediate: 32, count: 1), contents: [gate, up, down]))
        func read(_ bytes: [UInt8], length: Int) throws -> OlderShard? {
            let pages = PageBytes(bytes)
            return try withExtendedLifetime(pages) { try OlderShard(header: pages.raw, length: length) }
        }
        #expect(try read(today, length: today.count) == nil)
        var bytes = today
        put(1, at: 8)(&bytes)
        let sound = try #require(try read(bytes, length: bytes.count))
        #expect(sound.entries.count == 3)
        #expect(try sound.plan().length == today.count)
        #expect(throws: ShardError.self) { try read(bytes, length: bytes.count + 4096) }
        for length in [0, 15, 63, 64, 100] {
            #expect(throws: ShardError.self) { try read(Array(bytes[..<length]), length: bytes.count) }
        }
        for index in 0..<(64 + 3 * 40) {
            for flip in [UInt8(1), 0x80, 0xFF] {
                var damaged = bytes
                damaged[index] ^= flip
                guard let shard = try? read(damaged, length: damaged.count) else { continue }
                #expect(shard.entries.allSatisfy { $0.offset >= shard.headerBytes })
                #expect(shard.entries.allSatisfy { $0.offset + $0.length <= damaged.count })
                #expect((try? shard.plan()) != nil)
            }
        }
    }

    @Test("A flipped byte in a header is refused or leaves a shard that can be read without harm")
    func flips() throws {
        let bytes = shardBytes(try expertPlan(count: 1))
        for index in 0..<(64 + 3 * 40) {
            for flip in [UInt8(1), 0x80, 0xFF] {
                var damaged = bytes
                damaged[index] ^= flip
                let pages = PageBytes(damaged)
                guard let view = try? ShardView(validating: pages.raw) else { continue }
                for role in [ShardRole.expertGate, .expertUp, .expertDown] {
                    let matrix = try view.matrix(role)
                    let end = matrix.base + (matrix.format.packedBytes(rows: matrix.rows, columns: matrix.columns) ?? 0)
                    let last = try #require(pages.raw.baseAddress) + pages.raw.count
                    #expect(end <= last)
                }
            }
        }
    }
}

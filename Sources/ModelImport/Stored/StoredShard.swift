// One shard on its way from where it was stored: read once from beginning to end and hashed, so that damage is found before
// anything counts. A packed matrix of an earlier layout is renewed tile by tile, about a MiB at a time.
import Crypto
import FunctionModel
import Kernels
import Shard

/// A shard in a file.
struct StoredShard {
    private static let run = 1 << 20

    private let name: String
    private let digest: [UInt8]
    private let file: SourceFile
    private let place: Range<Int>
    /// Of an earlier layout: its table, and what becomes of it.
    private let renewal: (older: OlderShard, plan: ShardPlan)?

    /// Bytes that it will have.
    var length: Int { renewal?.plan.length ?? place.count }

    /// - Parameters:
    ///   - name: its digest, in 64 small hexadecimal digits; with another one there is no shard.
    ///   - place: its bytes in `file`.
    /// - Throws: `ImportError` when its beginning is damaged.
    init?(_ name: String, _ file: SourceFile, _ place: Range<Int>) throws(ImportError) {
        guard let digest = Hexadecimal.bytes(name), digest.count == 32, name == Hexadecimal.text(digest) else {
            return nil
        }
        (self.name, self.digest, self.file, self.place) = (name, digest, file, place)
        let first = try file.bytes(
            at: place.lowerBound, count: min(OlderShard.firstBytes, place.count), what: "shard \(name)")
        let count = min(first.withUnsafeBytes { ShardView.headerBytes(of: $0) }, place.count)
        let header = try file.bytes(at: place.lowerBound, count: count, what: "shard \(name)")
        do throws(ShardError) {
            let older = try Self.older(header, place.count)
            renewal = try older.map { older throws(ShardError) in (older, try older.plan()) }
        } catch {
            throw ImportError(.badBackup, "shard \(name) at byte \(place.lowerBound) of \(file.name): \(error.message)")
        }
    }

    private static func older(_ header: [UInt8], _ length: Int) throws(ShardError) -> OlderShard? {
        var result: Result<OlderShard?, ShardError> = .success(nil)
        header.withUnsafeBytes { bytes in
            result = Result { () throws(ShardError) in try OlderShard(header: bytes, length: length) }
        }
        return try result.get()
    }

    /// Makes it shard `index` of a deployment.
    func write(_ index: Int, to sink: some ShardSink) throws(ImportError) {
        if renewal == nil, try sink.has(index: index, digest: digest) { return }
        let output = ShardOutput(descriptor: try sink.create(index: index, length: length)) { _ in }
        var reader = Reader(file, place, name)
        if let renewal {
            try renew(renewal.older, renewal.plan, &reader, output)
        } else {
            try reader.copy(to: place.upperBound, output)
        }
        guard Array(reader.hash.finalize()) == digest else {
            throw ImportError(
                .badBackup,
                "\(file.name): shard \(name) at byte \(place.lowerBound) does not have the bytes of its name; use another "
                    + "copy, or deploy its model again")
        }
        try sink.finish(index: index, digest: try output.finish(), length: length)
    }

    private func renew(
        _ older: OlderShard, _ plan: ShardPlan, _ reader: inout Reader, _ output: ShardOutput
    ) throws(ImportError) {
        try output.append(plan.header)
        for (old, new) in zip(older.entries, plan.entries) {
            try reader.skip(to: place.lowerBound + old.offset)
            try output.pad(to: new.offset)
            if old.role.content == .matrix, let from = old.format.olderTileBytes(columns: old.cols),
                let to = old.format.tileBytes(columns: old.cols)
            {
                try renew(old, from, to, &reader, output)
            } else {
                try reader.copy(to: place.lowerBound + old.offset + old.length, output)
            }
        }
        try reader.skip(to: place.upperBound)
        try output.pad(to: plan.length)
    }

    private func renew(
        _ entry: ShardEntry, _ from: Int, _ to: Int, _ reader: inout Reader, _ output: ShardOutput
    ) throws(ImportError) {
        let most = max(1, Self.run / from)
        var (left, tiles) = (entry.length / from, [UInt8](repeating: 0, count: most * to))
        while left > 0 {
            let count = min(left, most)
            let older = try reader.next(count * from)
            older.withUnsafeBytes { older in
                tiles.withUnsafeMutableBytes { tiles in
                    guard let source = older.baseAddress, let target = tiles.baseAddress else { return }
                    for tile in 0..<count {
                        entry.format.renew(tile: source + tile * from, columns: entry.cols, into: target + tile * to)
                    }
                }
            }
            try output.append(count == most ? tiles : Array(tiles[..<(count * to)]))
            left -= count
        }
    }

    /// Reads on and hashes.
    private struct Reader {
        private let file: SourceFile
        private let name: String
        private var at: Int
        var hash = SHA256()

        init(_ file: SourceFile, _ place: Range<Int>, _ name: String) {
            (self.file, self.name, at) = (file, name, place.lowerBound)
        }

        mutating func next(_ count: Int) throws(ImportError) -> [UInt8] {
            let bytes = try file.bytes(at: at, count: count, what: "shard \(name)")
            hash.update(data: bytes)
            at += count
            return bytes
        }

        mutating func copy(to end: Int, _ output: ShardOutput) throws(ImportError) {
            while at < end { try output.append(try next(min(StoredShard.run, end - at))) }
        }

        mutating func skip(to end: Int) throws(ImportError) {
            while at < end { _ = try next(min(StoredShard.run, end - at)) }
        }
    }
}

import Crypto
import FoundationEssentials
// A backup as the source of a deployment: shards as they were, under the names of their own bytes, with the manifest
// that was registered. Node hashes what is written here as it does for every import, so an altered shard is found
// before anything counts; here it is found first, with its name and place in the file.
import FunctionModel

/// A tar file that `locum backup` made.
struct BackupFile {
    private static let block = 1 << 20
    private static let mostShards = 65_536

    let file: SourceFile
    let index: BackupIndex
    /// Where the first shard's header begins.
    private let start: Int

    /// The backup, when that is the one file given.
    static func among(_ files: [String: SourceFile]) throws(ImportError) -> BackupFile? {
        guard files.count == 1, let file = files.values.first, file.size >= TarHeader.block else { return nil }
        let first = try file.bytes(at: 0, count: TarHeader.block, what: "the header")
        // No model begins with this name; whether the header is sound is another question.
        guard first.starts(with: BackupIndex.prefix.utf8) else { return nil }
        return try BackupFile(file, first)
    }

    private init(_ file: SourceFile, _ first: [UInt8]) throws(ImportError) {
        self.file = file
        guard let header = TarHeader.read(first), header.size <= BackupIndex.longest else {
            throw Self.bad(file, "its first header is damaged")
        }
        let bytes = try file.bytes(at: TarHeader.block, count: header.size, what: "the list of models")
        guard header.name == BackupIndex.entry(index: Hexadecimal.text(Array(SHA256.hash(data: bytes)))) else {
            throw Self.bad(file, "its list of models does not have the bytes of its name")
        }
        struct Format: Decodable { let format: Int }
        let decoder = JSONDecoder()
        do {
            let format = try decoder.decode(Format.self, from: Data(bytes)).format
            guard format <= BackupIndex.newestFormat else {
                throw ImportError(
                    .badBackup,
                    "\(file.name) has format \(format), and this Locum knows formats up to "
                        + "\(BackupIndex.newestFormat); restore it with a newer one")
            }
            index = try decoder.decode(BackupIndex.self, from: Data(bytes))
        } catch let error as ImportError {
            throw error
        } catch {
            throw Self.bad(file, "its list of models cannot be read")
        }
        start = TarHeader.block + TarHeader.padded(header.size)
    }

    /// - Throws: `ImportError` when there is none of this name.
    func model(_ name: String) throws(ImportError) -> BackupIndex.Model {
        guard let model = index.models.first(where: { $0.name == name }) else {
            let names = index.models.prefix(10).map(\.name).joined(separator: ", ")
            throw ImportError(
                .notAModel, "\(file.name) is a backup and holds no model \(name), only: \(names); see `locum restore`")
        }
        return model
    }

    /// Writes the shards of the model that `options` names, those that the sink lacks.
    func restore(
        _ options: ImportOptions, _ sink: some ShardSink, _ progress: (UInt64, UInt64, String) -> Void
    ) throws(ImportError) -> ImportManifest {
        let model = try model(options.name)
        let places = try places()
        guard model.shards.count <= Self.mostShards else { throw Self.bad(file, "\(model.shards.count) shards") }
        var parts: [(digest: [UInt8], name: String, place: Range<Int>)] = []
        for name in model.shards {
            guard let digest = Self.bytes(hexadecimal: name), let place = places[name] else {
                throw Self.bad(file, "shard \(name.prefix(64)) of \(model.name) is not in it")
            }
            parts.append((digest, name, place))
        }
        let total = parts.reduce(0) { $0 + $1.place.count }
        var done = 0
        for (index, part) in parts.enumerated() {
            progress(UInt64(done), UInt64(total), "restoring \(model.name)")
            if try !sink.has(index: index, digest: part.digest) { try copy(index, part, to: sink) }
            done += part.place.count
        }
        progress(UInt64(done), UInt64(total), "restoring \(model.name)")
        return model.manifest
    }

    private func copy(
        _ index: Int, _ part: (digest: [UInt8], name: String, place: Range<Int>), to sink: some ShardSink
    ) throws(ImportError) {
        let output = ShardOutput(descriptor: try sink.create(index: index, length: part.place.count)) { _ in }
        var at = part.place.lowerBound
        while at < part.place.upperBound {
            let count = min(Self.block, part.place.upperBound - at)
            try output.append(try file.bytes(at: at, count: count, what: "shard \(part.name)"))
            at += count
        }
        guard try output.finish() == part.digest else {
            throw Self.bad(
                file, "shard \(part.name) at byte \(part.place.lowerBound) does not have the bytes of its name")
        }
        try sink.finish(index: index, digest: part.digest, length: part.place.count)
    }

    /// Where each shard's bytes lie.
    private func places() throws(ImportError) -> [String: Range<Int>] {
        var places: [String: Range<Int>] = [:]
        var at = start
        while true {
            guard at + TarHeader.block <= file.size else { throw cut(at) }
            let bytes = try file.bytes(at: at, count: TarHeader.block, what: "a header")
            // An empty block ends the file.
            if bytes.allSatisfy({ $0 == 0 }) { return places }
            // Behind the shards; it is no model's.
            if TarHeader.read(bytes)?.name.hasPrefix(BackupIndex.usage) == true { return places }
            guard let header = TarHeader.read(bytes), header.name.hasPrefix("shards/"), places.count < Self.mostShards
            else { throw Self.bad(file, "the header at byte \(at) is damaged") }
            let begin = at + TarHeader.block
            guard header.size > 0, header.size <= file.size - begin else { throw cut(begin) }
            places[String(header.name.dropFirst("shards/".count))] = begin..<begin + header.size
            at = begin + TarHeader.padded(header.size)
        }
    }

    private func cut(_ at: Int) -> ImportError {
        ImportError(
            .truncated,
            "\(file.name) ends at byte \(file.size), within what begins at byte \(at): it was not copied whole")
    }

    private static func bad(_ file: SourceFile, _ what: String) -> ImportError {
        ImportError(.badBackup, "\(file.name) is damaged: \(what); use another copy of this backup")
    }

    /// The digest that 64 small hexadecimal digits stand for.
    private static func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count == 64, digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
            return nil
        }
        func value(_ digit: UInt8) -> UInt8 { digit < 97 ? digit - 48 : digit - 87 }
        return stride(from: 0, to: 64, by: 2).map { value(digits[$0]) << 4 | value(digits[$0 + 1]) }
    }
}

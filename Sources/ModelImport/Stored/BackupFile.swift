// A backup as the source of a deployment: shards as they were, under the names of their own bytes, with the manifest
// that was registered. Node hashes what is written here as it does for every import, so an altered shard is found
// before anything counts; here it is found first, with its name and place in the file.
import Crypto
import FoundationEssentials
import FunctionModel

/// A tar file that `locum backup` made.
struct BackupFile {
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

    /// The model of that name with its shards.
    func stored(_ name: String) throws(ImportError) -> StoredModel {
        let model = try model(name)
        let places = try places()
        guard model.shards.count <= Self.mostShards else { throw Self.bad(file, "\(model.shards.count) shards") }
        var shards: [StoredShard] = []
        for name in model.shards {
            guard let place = places[name], let shard = try StoredShard(name, file, place) else {
                throw Self.bad(file, "shard \(name.prefix(64)) of \(model.name) is not in it")
            }
            shards.append(shard)
        }
        return try StoredModel(model.manifest, shards)
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
}

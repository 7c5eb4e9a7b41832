// A model that was deployed before, as the source of a deployment: the manifest that was registered, and shards under the
// names of their own bytes. `locum restore` takes both from a backup, `locum verify --repair` from the store. Shards of an
// earlier layout are rewritten on the way, all others stay as they are.
import FoundationEssentials
import FunctionModel

/// Shards with what they make up.
struct StoredModel {
    private(set) var manifest: ImportManifest
    private let shards: [StoredShard]

    init(_ manifest: ImportManifest, _ shards: [StoredShard]) throws(ImportError) {
        (self.manifest, self.shards) = (manifest, shards)
        // An earlier layout's lengths are others.
        for index in manifest.functions.indices where shards.indices.contains(manifest.functions[index].shard) {
            self.manifest.functions[index].bytes = shards[manifest.functions[index].shard].length
        }
        self.manifest.bytes = shards.reduce(0) { $0 + $1.length }
    }

    /// The model, when its record and its shards' files are what was given.
    static func among(_ files: [String: SourceFile]) throws(ImportError) -> StoredModel? {
        guard let record = files[BackupIndex.record] else { return nil }
        let bytes = try record.contents(most: BackupIndex.longest)
        guard let model = try? JSONDecoder().decode(BackupIndex.Model.self, from: Data(bytes)) else {
            throw ImportError(.badBackup, "\(record.name) cannot be read: it is no record of a deployed model")
        }
        var shards: [StoredShard] = []
        for name in model.shards {
            guard let file = files[name], let shard = try StoredShard(name, file, 0..<file.size) else {
                throw ImportError(.badBackup, "\(record.name) names shard \(name.prefix(64)), which was not given")
            }
            shards.append(shard)
        }
        return try StoredModel(model.manifest, shards)
    }

    /// Writes the shards that the sink lacks.
    func write(
        _ name: String, _ sink: some ShardSink, _ progress: (UInt64, UInt64, String) -> Void
    ) throws(ImportError) -> ImportManifest {
        let total = UInt64(shards.reduce(0) { $0 + $1.length })
        var done: UInt64 = 0
        for (index, shard) in shards.enumerated() {
            progress(done, total, "restoring \(name)")
            try shard.write(index, to: sink)
            done += UInt64(shard.length)
        }
        progress(done, total, "restoring \(name)")
        return manifest
    }
}

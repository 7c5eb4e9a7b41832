// The first part of a backup: what was deployed, by names of shards. A backup is a tar file, so that people can look
// into it: `locum-backup-DIGEST.json` first and a `shards/DIGEST` for each shard after it, all named after their bytes.
// Ids are not in it: functions get new ones where they are restored.

/// What a backup holds.
public struct BackupIndex: Codable, Sendable, Equatable {
    public struct Model: Codable, Sendable, Equatable {
        public var name: String
        public var revision: Int
        /// Seconds since 1970.
        public var deployedAt: Int64
        public var options: DeployRecord
        public var manifest: ImportManifest
        /// SHA-256 of each shard in hexadecimal, by the manifest's shard index.
        public var shards: [String]

        enum CodingKeys: String, CodingKey {
            case name, revision, options, manifest, shards
            case deployedAt = "deployed_at"
        }

        public init(_ record: ModelRecord) {
            (name, revision, deployedAt) = (record.name, record.revision, record.deployedAt)
            (options, manifest) = (record.options, record.manifest)
            let count = (record.manifest.functions.map(\.shard).max() ?? -1) + 1
            shards = [String](repeating: "", count: count)
            for (function, made) in zip(record.functions, record.manifest.functions) {
                shards[made.shard] = Hexadecimal.text(function.digest)
            }
        }
    }

    /// How the name of the first part begins.
    public static let prefix = "locum-backup-"
    /// Of the form described above.
    public static let newestFormat = 1
    /// Longest index: some fifty models of a thousand functions.
    public static let longest = 16 << 20

    public var format: Int
    /// The version that made it.
    public var locum: String
    public var models: [Model]

    public init(locum: String, models: [Model]) {
        (format, self.locum, self.models) = (Self.newestFormat, locum, models)
    }

    /// The first part's name, after its own SHA-256.
    public static func entry(index digest: String) -> String { "\(prefix)\(digest).json" }
    /// The name of a shard's part.
    public static func entry(shard digest: String) -> String { "shards/\(digest)" }
}

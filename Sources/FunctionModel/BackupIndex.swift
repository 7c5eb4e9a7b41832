// The first part of a backup: what was deployed, by names of shards. A backup is a tar file, so that people can look
// into it: `locum-backup-DIGEST.json` first, a `shards/DIGEST` for each shard after it, and last `usage/DIGEST.jsonl` with what
// was used (a line for each `UsageHour`, if there was anything), all named after their bytes.
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

    /// What a key is recognised by; when it was used is not in it, so that a backup is the same as long as nothing was
    /// changed.
    public struct Key: Codable, Sendable, Equatable {
        public var id: String
        /// SHA-256 of the key in hexadecimal.
        public var hash: String
        public var createdAt: Int64
        /// Of an operator's key.
        public var role: OperatorRole?

        enum CodingKeys: String, CodingKey {
            case id, hash, role
            case createdAt = "created_at"
        }

        public init(_ key: KeyRecord, role: OperatorRole? = nil) {
            (id, hash, createdAt, self.role) = (key.id, Hexadecimal.text(key.hash), key.createdAt, role)
        }

        /// What the registry is to hold; nil when the hash is none.
        public var record: KeyRecord? {
            guard let hash = Hexadecimal.bytes(hash), hash.count == 32 else { return nil }
            return KeyRecord(id: id, hash: hash, createdAt: createdAt)
        }
    }

    /// A tenant with its keys.
    public struct Tenant: Codable, Sendable, Equatable {
        public var name: String
        public var createdAt: Int64
        public var limits: TenantLimits
        public var keys: [Key]

        enum CodingKeys: String, CodingKey {
            case name, limits, keys
            case createdAt = "created_at"
        }

        public init(_ record: TenantRecord) {
            (name, createdAt, limits) = (record.name, record.createdAt, record.limits)
            keys = record.keys.map { Key($0) }
        }

        /// What the registry is to hold; nil when a hash is none.
        public var record: TenantRecord? {
            var keys: [KeyRecord] = []
            for key in self.keys {
                guard let record = key.record else { return nil }
                keys.append(record)
            }
            return TenantRecord(name: name, limits: limits, createdAt: createdAt, keys: keys)
        }
    }

    /// How the name of the first part begins.
    public static let prefix = "locum-backup-"
    /// Name of a file with one `Model`, given with its shards to deploy it anew from what is stored.
    public static let record = "locum-model.json"
    /// Of the form described above.
    public static let newestFormat = 2
    /// Longest index: some fifty models of a thousand functions.
    public static let longest = 16 << 20

    public var format: Int
    /// The version that made it.
    public var locum: String
    public var models: [Model]
    /// nil in backups of before there were tenants.
    public var tenants: [Tenant]?
    /// The operator's, each with its role; nil in backups of before there were such keys.
    public var operatorKeys: [Key]?

    enum CodingKeys: String, CodingKey {
        case format, locum, models, tenants
        case operatorKeys = "operator_keys"
    }

    public init(locum: String, models: [Model], tenants: [Tenant], operatorKeys: [Key] = []) {
        (format, self.locum, self.models) = (Self.newestFormat, locum, models)
        (self.tenants, self.operatorKeys) = (tenants, operatorKeys)
    }

    /// The first part's name, after its own SHA-256.
    public static func entry(index digest: String) -> String { "\(prefix)\(digest).json" }
    /// How the name of the last part begins, and the whole of it.
    public static let usage = "usage/"
    public static func entry(usage digest: String) -> String { "\(usage)\(digest).jsonl" }
    /// The name of a shard's part.
    public static func entry(shard digest: String) -> String { "shards/\(digest)" }
}

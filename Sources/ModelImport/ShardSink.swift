// Where shards go. The import process has no folder: it asks for a file, writes it, and says when it is
// done. Whoever answers (node) hashes the file itself and moves it into place.

/// Takes the shards of one import, which come one after another.
public protocol ShardSink {
    /// Whether a shard of this SHA-256 is stored already; if so it becomes shard `index` of the deployment,
    /// and neither `create` nor `finish` is called for it.
    func has(index: Int, digest: [UInt8]) throws(ImportError) -> Bool
    /// An empty file for shard `index` of `length` bytes. The descriptor is the import's until `finish`.
    func create(index: Int, length: Int) throws(ImportError) -> Int32
    /// Shard `index` is written in full and closed.
    func finish(index: Int, digest: [UInt8], length: Int) throws(ImportError)
}

// A shard that live instances have mapped: counted once, however many they are.
import ShardStore

/// A shard and the instances that map it.
final class ShardEntry {
    /// Its name in the residency machine.
    let key: UInt64
    let digest: ShardDigest
    let bytes: Int
    /// Number of the model that mapped it first.
    let model: Int
    var instances: [Instance] = []
    /// The instance that was told to read it.
    var loader: UInt64?
    /// Instances that were told to drop it and have not yet.
    var leaving: Set<UInt64> = []
    /// One of them has a call, so it stays.
    var isKept = false
    /// Runs out when they do not.
    var patience: EventLoop.Timer?
    /// Calls of all its instances that were reported to the residency machine, by instance.
    var reported: [UInt64: UInt64] = [:]

    init(key: UInt64, digest: ShardDigest, bytes: Int, model: Int) {
        (self.key, self.digest, self.bytes, self.model) = (key, digest, bytes, model)
    }
}

// A shard that live instances have mapped: counted once, however many they are.
import CLinux
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
    /// A call waits for it to be read.
    var isCalled = false
    /// The instance that was told to read it.
    var loader: UInt64?
    /// Instances that were told to drop it and have not yet.
    var leaving: Set<UInt64> = []
    /// One of them has a call, so it stays.
    var isKept = false
    /// Runs out when they do not.
    var patience: EventLoop.Timer?

    init(key: UInt64, digest: ShardDigest, bytes: Int, model: Int) {
        (self.key, self.digest, self.bytes, self.model) = (key, digest, bytes, model)
    }
}

/// An instance's count of calls, as far as the residency machine knows of it.
struct CallWatch {
    let instance: UInt64
    /// Its shard.
    let key: UInt64
    /// Valid as long as the instance is attached.
    let page: UnsafePointer<locum_status_page>
    var reported: UInt64 = 0
}

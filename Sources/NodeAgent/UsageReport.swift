// What instances have used. The short report reads one shared page per instance; the detailed one, which a
// person asks for, also reads /proc and asks which shard pages are in memory, a few instances per turn.
import ShardStore
import Wire

/// Makes reports for control.
enum UsageReport {
    /// In a report's request number: with private memory and resident shard bytes.
    static let detailed: UInt32 = 0x8000_0000
    private static let instancesPerTurn = 16

    static func short(_ instances: [Instance]) -> [InstanceUsage] {
        let now = monotonic()
        return instances.filter { $0.announcement != nil }.map { $0.usage(at: now) }
    }

    /// Calls `done` when all are measured; those that end meanwhile are left out.
    static func detailed(
        _ instances: [Instance], _ store: ShardStore, _ loop: EventLoop, done: @escaping ([InstanceUsage]) -> Void
    ) {
        var rest = instances[...]
        var result: [InstanceUsage] = []
        // Instances of one function share a shard: it is measured once.
        var resident: [ShardDigest: UInt64] = [:]
        loop.job {
            for instance in rest.prefix(instancesPerTurn) where instance.state != .dead {
                guard let process = instance.process, instance.announcement != nil else { continue }
                var usage = instance.usage(at: monotonic())
                let memory = ProcessFacts.memory(of: process.pid)
                (usage.privateBytes, usage.proportionalBytes) = (memory.privateBytes, memory.proportionalBytes)
                let bytes = resident[instance.digest] ?? store.residentBytes(of: instance.digest)
                resident[instance.digest] = bytes
                usage.shardResidentBytes = bytes
                result.append(usage)
            }
            rest = rest.dropFirst(instancesPerTurn)
            if rest.isEmpty { done(result) }
            return !rest.isEmpty
        }
    }
}

// One deployment as node sees it: a CLI that gave descriptors, a sandboxed import that reads them, shards
// that node stores, and control's word that the registry has it. Until then nothing of it counts.
//
//   collecting ─► queued ─► asking (control) ─► importing ─► registering (control) ─► ended
import ShardStore
import Syscall
import Wire

/// The state of one deployment.
final class Deployment {
    enum State: Equatable {
        case collecting
        case queued
        case asking
        case importing
        case registering
        case ended
    }

    /// A shard on its way into the store.
    enum Shard {
        case writing(TemporaryShard)
        case hashing(TemporaryShard)
        case stored(ShardDigest)
    }

    static let mostFiles = 4096
    static let mostShards: UInt32 = 65_536
    /// Files that an import may have open at once.
    static let mostOpenShards = 16
    static let longestManifest = 8 << 20

    let id: UInt32
    let caller: Caller
    let options: DeployOptions
    private(set) var state = State.collecting
    var files: [String] = []
    var sources: [Descriptor] = []
    var child: ChildProcess?
    var channel: PacketChannel?
    var shards: [UInt32: Shard] = [:]
    var manifest: [UInt8] = []
    /// Shards that the store did not have before.
    var written: UInt32 = 0
    var patience: EventLoop.Timer?

    init(id: UInt32, caller: Caller, options: DeployOptions) {
        (self.id, self.caller, self.options) = (id, caller, options)
    }

    var isOpen: Bool { state != .ended }

    /// Steps to the next state.
    func move(to next: State) throws(NodeAgentError) {
        switch (state, next) {
        case (.collecting, .queued), (.queued, .asking), (.asking, .importing), (.importing, .registering): state = next
        default: throw .badRequest("a deployment that is \(state) cannot become \(next)")
        }
    }

    /// Ends it from whatever state: the import dies, what is half-written is removed.
    func end() {
        state = .ended
        stopImport()
        shards = [:]
        sources = []
    }

    /// The import has said all, or has to go.
    func stopImport() {
        channel?.close()
        channel = nil
        child?.kill()
    }

    var openShards: Int {
        shards.values.reduce(0) { if case .stored = $1 { $0 } else { $0 + 1 } }
    }

    /// The digests in order of their index; nil when one is missing or unfinished.
    var digests: [ShardDigest]? {
        var result: [ShardDigest] = []
        for index in 0..<UInt32(shards.count) {
            guard case .stored(let digest) = shards[index] else { return nil }
            result.append(digest)
        }
        return result
    }
}

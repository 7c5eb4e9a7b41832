// One deployment as node sees it: a CLI that gave descriptors, a sandboxed import that reads them, shards
// that node stores, and control's word that the registry has it. Until then nothing of it counts.
//
//   collecting ─► queued ─► asking (control) ─► importing ─► registering (control) ─► ended
import Glibc
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

    /// Control's word about the plan.
    enum Approval: Equatable {
        case unasked
        /// `waiting`: the shard that the import has asked for meanwhile.
        case asked(waiting: Announced?)
        case given
    }

    struct Announced: Equatable {
        var index: UInt32
        var length: UInt64
    }

    static let mostFiles = 4096
    static let mostShards: UInt32 = 65_536
    /// What its shards may take on disk for each byte of its sources, and beyond that. The widest conversion, Q4_0 to
    /// F32, makes seven bytes of one, and writes a tied output matrix twice; the rest is room for padding and tables.
    static let mostGrowth: UInt64 = 16
    static let mostAdded: UInt64 = 1 << 30
    static let longestManifest = 8 << 20

    let id: UInt32
    let caller: Caller
    let options: DeployOptions
    private(set) var state = State.collecting
    private(set) var files: [String] = []
    var sources: [Descriptor] = []
    var child: ChildProcess?
    var channel: PacketChannel?
    var shards: [UInt32: Shard] = [:]
    var manifest: [UInt8] = []
    /// The manifest as it comes before the first shard.
    var plan: [UInt8] = []
    var approval = Approval.unasked
    /// Who deploys may not hear of what is stored, nor have it for nothing.
    var isSealed = false
    /// Bytes that its shards may have together.
    var room = UInt64.max
    /// Shards that the store did not have before.
    var written: UInt32 = 0
    var patience: EventLoop.Timer?
    /// The shard that is written or hashed, one at a time, and when it is looked at next.
    var open: TemporaryShard?
    var watch: EventLoop.Timer?
    /// Bytes of all sources, and of all shards announced.
    private(set) var sourceBytes: UInt64 = 0
    var announced: UInt64 = 0

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

    func add(_ names: [String], _ descriptors: [Descriptor]) {
        files += names
        sources += descriptors
        for source in descriptors {
            var info = stat()
            if fstat(source.raw, &info) == 0 { sourceBytes &+= UInt64(max(0, info.st_size)) }
        }
    }

    /// Ends it from whatever state: the import dies, what is half-written is removed.
    func end() {
        state = .ended
        stopImport()
        shards = [:]
        open = nil
        sources = []
    }

    /// The import has said all, or has to go.
    func stopImport() {
        channel?.close()
        channel = nil
        child?.kill()
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

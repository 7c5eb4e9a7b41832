// What every runtime starts from: the mapped shard, checked, and the status page. The descriptors are closed
// as soon as they are mapped; from then on the worker has its channel and nothing else.
import CLinux
import Kernels
import Link
import Shard
import Syscall
import Wire

/// Why a worker could not start, in the words that node passes on.
struct StartFailure {
    /// Stable: `bad_shard`, `sandbox` (a system call failed), or an engine's code.
    let code: String
    let message: String

    init(_ error: any Error, function: String) {
        switch error {
        case let error as ShardError: (code, message) = ("bad_shard", "function \(function): its shard: \(error)")
        case let error as SyscallError: (code, message) = ("sandbox", "function \(function): \(error)")
        case let error as EngineError: (code, message) = (error.code, "function \(function): \(error)")
        case let error as InvokeError: (code, message) = (error.code, "function \(function): \(error)")
        default: (code, message) = ("failed", "function \(function): \(error)")
        }
    }
}

/// An instance's shard, status page and CPUs.
final class WorkerParts {
    let shard: ShardView
    let status: StatusPage
    let name: String
    let cpus: [UInt32]
    let sequences: Int
    let functionsAtOnce: Int
    let residency: ShardResidency

    /// An expert's shard, until its header was used.
    private var file: Descriptor?

    /// Maps and checks, and closes the two descriptors. A router's shard is in memory when this returns, and an
    /// expert's if there was room for it when it was started; else of an expert's only the header is, which is read
    /// page by page so that nothing else comes with it. Nothing is looked at before it is known to be readable.
    init(_ context: WorkerContext) throws {
        let file = Descriptor(owning: context.shard)
        let page = Descriptor(owning: context.statusPage)
        guard let bytes = Int(exactly: context.shardBytes), bytes > 0 else {
            throw ShardError(.damaged, "a shard of \(context.shardBytes) bytes")
        }
        guard !context.cpus.isEmpty else { throw SyscallError(stage: "place lanes on no CPU at all", errno: 22) }
        let mapping = try Mapping(file.raw, count: bytes, writable: false)
        status = try StatusPage(page.raw)
        residency = ShardResidency(mapping, status: status, channel: context.channel)
        switch context.runtime {
        case .router: try residency.enterAtStart()
        case .expert: try residency.readHeader()
        }
        shard = try ShardView(validating: UnsafeRawBufferPointer(start: mapping.base, count: bytes))
        (name, cpus, sequences) = (context.name, context.cpus, context.sequences)
        functionsAtOnce = context.functionsAtOnce
        if context.runtime == .expert { self.file = file }
    }

    /// The shard's header and table are not looked at again.
    func letGoOfHeader() {
        if let file { residency.letGoOfHeader(file) }
        file = nil
    }
}

/// The page through which node sees an instance's usage without waking it.
final class StatusPage {
    private let mapping: Mapping
    private let page: UnsafeMutablePointer<locum_status_page>

    init(_ descriptor: Int32) throws(SyscallError) {
        mapping = try Mapping(descriptor, count: 4096, writable: true)
        page = mapping.base.assumingMemoryBound(to: locum_status_page.self)
    }

    /// The instance can take calls.
    func ready() { locum_status_ready(page) }
    /// A call or sequence begins.
    func begin() { locum_status_begin(page) }
    /// A long one gives a sign of life.
    func touch() { locum_status_touch(page) }
    /// It ended after `rows` rows.
    func end(rows: Int) { locum_status_end(page, UInt64(rows)) }
    /// When it last answered, in nanoseconds of the monotonic clock.
    var lastActive: UInt64 { locum_status_read(page).last_active_ns }
    /// LOCUM_SHARD_…
    var shardState: UInt32 { locum_shard_state(page) }
    /// True when the state was `from`; whoever waits is woken.
    func moveShard(from: UInt32, to: UInt32) -> Bool { locum_shard_move(page, from, to) }
    /// Sleeps while the state is `state`; may return early.
    func waitForShard(while state: UInt32) { locum_shard_wait(page, state) }
    /// What is counted so far.
    var snapshot: locum_status_page { locum_status_read(page) }
}

/// What a router starts from.
final class RouterParts {
    let shard: ShardView
    let config: RouterConfig
    let engine: Engine
    /// The channel to node, on which functions are acquired and `accept`, `drain` and `revoked` arrive.
    let connection: InvokeConnection
    let status: StatusPage
    /// Most sequences at once.
    let sequences: Int
    private let parts: WorkerParts

    init(_ parts: WorkerParts, channel: Descriptor) throws {
        // Every token takes arrays as long as the vocabulary.
        locum_map_blocks_from(4 << 20)
        config = try parts.shard.routerConfig()
        connection = InvokeConnection(socket: channel)
        let pool = try ComputePool(cpus: parts.cpus)
        let dispatcher = try LinkDispatcher(
            connection: connection, config: config, threads: pool.count, functionsAtOnce: parts.functionsAtOnce)
        engine = try Engine(shard: parts.shard, config: config, pool: pool, dispatcher: dispatcher)
        (self.parts, shard, status, sequences) = (parts, parts.shard, parts.status, max(1, parts.sequences))
    }
}

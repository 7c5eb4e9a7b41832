// The control plane: one actor that owns the registry's picture, the instance table and the session with node.
// Node's events come in one at a time and in order; decisions go out as commands. All policy is here, no
// privilege: nothing below starts a process or opens a shard.
public import ControlStore
import FunctionModel
public import Logging
import Scheduler
public import Wire

/// What can be set from outside.
public struct ControlSettings: Sendable {
    public var version: String
    /// What control itself gave up, for `locum status`.
    public var confinement: String
    /// At the start; see `Controller.change(idle:)`.
    public var idle: IdlePolicy
    /// Lanes of a worker: threads that compute at once.
    public var lanes: UInt8
    /// Sequences that one router runs at once, and those that may wait for it.
    public var sequences: Int
    public var queue: Int
    /// As many more run, of tenants that have none running and are owed a turn.
    public var spareSequences: Int { sequences }
    /// How long an instance may finish what it has when a person asks for its end.
    public var evictGrace: Duration
    /// The same when it only idles, or a deployment replaced it.
    public var replaceGrace: Duration

    public init(
        version: String, confinement: String = "not confined", idle: IdlePolicy, lanes: UInt8, sequences: Int = 8,
        queue: Int = 256, evictGrace: Duration = .seconds(2), replaceGrace: Duration = .seconds(30)
    ) {
        (self.version, self.confinement, self.lanes) = (version, confinement, lanes)
        (self.idle, self.sequences, self.queue) = (idle, sequences, queue)
        (self.evictGrace, self.replaceGrace) = (evictGrace, replaceGrace)
    }
}

/// A request to the control plane that cannot be met.
public struct ControlFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable: `not_found`, `unavailable`, `bad_request`, `unauthorized`, `queue_full`, `rate_limited`, or a store's code.
    public let code: String
    public let message: String
    /// Seconds until it may be met; nil: nobody knows.
    public let retryAfter: Int?
    public init(code: String, message: String, retryAfter: Int? = nil) {
        (self.code, self.message, self.retryAfter) = (code, message, retryAfter)
    }
    public var description: String { message }
}

/// The control plane of one node.
public actor Controller {
    /// The way to node; commands of one call arrive in order.
    public typealias Send = @Sendable ([NodeCommand]) -> Void

    enum Session {
        case down
        /// Connected, node has not said who it is.
        case opening(Send)
        case up(Send, node: String, features: [Feature])
    }

    nonisolated let settings: ControlSettings
    nonisolated let logger: Logger
    nonisolated let events: EventLog
    let store: any RegistryStore
    let tenants: Tenants?
    nonisolated let now: @Sendable () -> Moment
    let started: Moment
    var idle: IdlePolicy
    var catalog: Catalog
    var table = InstanceTable()
    var statistics = Statistics()
    var session = Session.down
    /// As node last reported.
    var memory = MemoryUsage()
    var predictions: [PredictionUsage] = []
    var predictionTotals = PredictionTotals()
    /// Numbers reserved in the store and not given out yet.
    var instanceNumbers: Range<UInt64> = 0..<0
    /// Deployments that node runs now.
    var deployments: [UInt32: PendingDeployment] = [:]
    var lastRequest: UInt32 = 0
    var reports: [UInt32: CheckedContinuation<[InstanceUsage]?, Never>] = [:]
    var verifications: [UInt32: CheckedContinuation<(condition: ShardCondition, message: String), Never>] = [:]
    var endWaiters: [EndWaiter] = []
    /// Why instances that are leaving do.
    var leaving: [UInt64: Leave] = [:]
    var sessionWaiters: [CheckedContinuation<Void, Never>] = []
    /// Told when a router's process is gone.
    var routerEnded: @Sendable () -> Void = {}
    /// Called when there has been nothing to do for a second.
    var rest: @Sendable () -> Void = {}
    var resting: Task<Void, Never>?
    /// How often each function is called, and the calls of its instance that were counted.
    var habits: [UInt64: KeepAlive] = [:]
    var counted: [UInt64: UInt64] = [:]
    /// Functions whose last instance found its shard bad.
    var faulty: Set<UInt64> = []
    var crashLoops = CrashLoops()
    /// Shards of deployments that failed and may be found registered after a restart; until the next word of the
    /// registry, which settles that, they stay.
    var doubtful: Set<[UInt8]> = []
    /// What the first token took when a model's router had to be started last.
    var firstTokens: [String: FirstToken] = [:]
    /// Looks at idle instances; exists only while there are instances.
    var watch: Task<Void, Never>?

    /// - Parameters:
    ///   - tenants: who may have models of its own; nil: nobody.
    ///   - now: the clock.
    /// - Throws: `StoreError` when the registry cannot be read.
    public init(
        store: any RegistryStore, settings: ControlSettings, logger: Logger, events: EventLog = EventLog(),
        tenants: Tenants? = nil, now: @escaping @Sendable () -> Moment = Controller.monotonic
    ) throws(StoreError) {
        (self.store, self.settings, self.logger, self.now) = (store, settings, logger, now)
        self.tenants = tenants
        self.events = events
        started = now()
        idle = settings.idle
        catalog = Catalog(try store.models())
        // What fails here is tried again at the first start of an instance, and told to whoever asked for it.
        instanceNumbers = (try? store.reserveInstances(Self.numbersPerReservation)) ?? 0..<0
    }

    /// The kernel's monotonic clock.
    public static let monotonic: @Sendable () -> Moment = {
        let origin = ContinuousClock.now
        return { origin.duration(to: .now) }
    }()

    func send(_ commands: [NodeCommand]) {
        guard !commands.isEmpty else { return }
        switch session {
        case .down: break
        case .opening(let send), .up(let send, _, _): send(commands)
        }
    }

    var isUp: Bool {
        if case .up = session { true } else { false }
    }

    /// A number for a request to node that is not in use; below 2^31, where node keeps a flag.
    func nextRequest() -> UInt32 {
        lastRequest = lastRequest % 0x7FFF_FFFF + 1
        return lastRequest
    }
}

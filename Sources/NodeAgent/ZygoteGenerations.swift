// Workers are forked from a zygote, so they share its address layout: what one of them learns of it (by a bug that
// leaks an address) holds for all. Therefore a zygote forks only so many workers, or for so long, and then another one,
// executed anew and so laid out anew, takes its place. The old one forks no more and ends with its last worker. An idle
// node does none of this: the next fork looks whether it is time.
//
//   current ──as many forks, as old──► successor starts ──started──► it is current, the old one retired ──empty──► ended
import Glibc
import Syscall
import Wire

/// The zygotes of a node: the one that forks, and older ones whose workers are still needed.
final class ZygoteGenerations {
    /// When a zygote has forked enough.
    struct Limits {
        /// Workers.
        var forks = 1000
        /// Nanoseconds.
        var age = UInt64.seconds(30 * 60)
    }

    private let loop: EventLoop
    private let launch: (Descriptor) throws -> StartedProcess
    private let limits: Limits
    private var current: ZygoteSupervisor
    private var successor: ZygoteSupervisor?
    private var retired: [ZygoteSupervisor] = []
    private var forks = 0
    private var since = monotonic()
    private var stopping = false

    /// Pid of a zygote, for the cgroup: called before it may fork.
    var onLaunch: (Int32) -> Void = { _ in }
    /// The one that forks came up, for the first time or again.
    var onStarted: () -> Void = {}
    /// A `spawned`, `failed` or `exited`.
    var onEvent: (ZygoteEvent, [Descriptor]) -> Void = { _, _ in }
    /// One ended, and with it these instances. The text says how.
    var onDeath: (_ instances: Set<UInt64>, _ reason: String) -> Void = { _, _ in }
    /// All ended after `stop`.
    var onStopped: () -> Void = {}

    init(_ loop: EventLoop, limits: Limits = Limits(), launch: @escaping (Descriptor) throws -> StartedProcess) {
        (self.loop, self.launch, self.limits) = (loop, launch, limits)
        current = ZygoteSupervisor(loop, launch: launch)
    }

    /// What of the sandbox is in force; nil before the first zygote started.
    var features: [Feature]? { current.features }
    var pids: [Int32] { all.compactMap(\.pid) }
    private var all: [ZygoteSupervisor] { [current] + (successor.map { [$0] } ?? []) + retired }

    func start() {
        connect(current)
        since = monotonic()
        current.start()
    }

    /// Orders a fork; waits in line while there is no zygote.
    func spawn(_ order: SpawnOrder, _ descriptors: [Descriptor]) {
        forks += 1
        current.instances.insert(order.instance)
        current.send(.spawn(order), descriptors)
        let isDue = forks >= limits.forks || monotonic() &- since > limits.age
        guard isDue, successor == nil, !stopping else { return }
        let next = ZygoteSupervisor(loop, launch: launch)
        successor = next
        connect(next)
        next.start()
    }

    /// Ends all zygotes and with them all workers; `onStopped` follows.
    func stop() {
        stopping = true
        for zygote in all { zygote.stop() }
    }

    private func connect(_ zygote: ZygoteSupervisor) {
        zygote.onLaunch = { [unowned self] in onLaunch($0) }
        zygote.onStarted = { [unowned self, unowned zygote] in started(zygote) }
        zygote.onEvent = { [unowned self, unowned zygote] in heard($0, $1, from: zygote) }
        zygote.onDeath = { [unowned self, unowned zygote] in
            let instances = zygote.instances
            zygote.instances = []
            // A successor that does not come up is tried again after as many forks; the old one goes on.
            if zygote === successor { zygote.retire() }
            // A retired one that is empty was told to go.
            if zygote === current || !instances.isEmpty { onDeath(instances, $0) }
        }
        zygote.onStopped = { [unowned self, unowned zygote] in stopped(zygote) }
    }

    private func started(_ zygote: ZygoteSupervisor) {
        if zygote === current { return onStarted() }
        guard zygote === successor else { return }
        let old = current
        (current, successor, forks, since) = (zygote, nil, 0, monotonic())
        retired.append(old)
        old.retire()
        if old.instances.isEmpty { old.stop() }
    }

    private func heard(_ event: ZygoteEvent, _ descriptors: [Descriptor], from zygote: ZygoteSupervisor) {
        switch event {
        case .exited(let instance, _), .failed(let instance, _, _): zygote.instances.remove(instance)
        case .started, .spawned: break
        }
        onEvent(event, descriptors)
        if zygote.instances.isEmpty, retired.contains(where: { $0 === zygote }) { zygote.stop() }
    }

    private func stopped(_ zygote: ZygoteSupervisor) {
        if zygote === successor {
            (successor, forks, since) = (nil, 0, monotonic())
        }
        retired.removeAll { $0 === zygote }
        if stopping, retired.isEmpty, successor == nil, current.pid == nil { onStopped() }
    }
}

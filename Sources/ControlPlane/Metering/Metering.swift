// Who used what. Tokens are counted as they pass; what experts and caches cost is told by routers, as sums per sequence, so
// that nothing counts twice; memory is what the kernel says that a model's processes and weights take, looked at now and
// then. Everything gathers here for half a second and is then written in one transaction: what a crash loses is less than a
// second, and nothing that was written is written again.
public import ControlStore
import FunctionModel
import Logging
import Synchronization
import Wire

/// The meter of all sequences.
public final class Metering: Sendable {
    /// Bytes that each model's processes, weights and caches take at the moment; as far as known, or `fresh` from the kernel.
    typealias Memory = @Sendable (_ fresh: Bool) async -> [String: Int]

    private struct Open {
        let key: UsageKey
        /// Since when its part of the model's memory counts.
        var since: Moment
    }

    /// What happened since memory was looked at last.
    private struct Window {
        var begun: Moment
        /// Bytes then.
        var held: [String: Int]
        /// Time of sequences, in seconds, by model and by whose they were.
        var shares: [String: [UsageKey: Double]] = [:]
        /// Of caches, which their sequences pay themselves.
        var cacheKilobyteMilliseconds: [String: Int64] = [:]
    }

    private struct State {
        var pending: [UsageKey: UsageCounts] = [:]
        var isWriting = false
        /// The last attempt to write failed, which was said.
        var isFailing = false
        var open: [UInt64: Open] = [:]
        var nextOpen: UInt64 = 0
        var window: Window?
        /// Whose sequence was the last at a model: what idles is kept for it.
        var last: [String: UsageKey] = [:]
    }

    private let state = Mutex(State())
    private let store: any UsageStore
    private let memory: Memory
    private let logger: Logger
    fileprivate let now: @Sendable () -> Moment
    /// Seconds since 1970.
    private let date: @Sendable () -> Int64
    private let processors: Int

    private static let writePause = Duration.milliseconds(500)
    private static let lookPause = Duration.seconds(1)
    /// Looking at memory takes node's time: at most one part in so many.
    private static let lookShare = 20

    /// - Parameter processors: that experts can run on at once; more than they have computed nobody is told.
    init(
        store: any UsageStore, logger: Logger, processors: Int,
        now: @escaping @Sendable () -> Moment = Controller.monotonic,
        date: @escaping @Sendable () -> Int64, memory: @escaping Memory
    ) {
        (self.store, self.logger, self.memory, self.processors) = (store, logger, memory, processors)
        (self.now, self.date) = (now, date)
    }

    /// Of a controller's models.
    public convenience init(
        store: any UsageStore, controller: Controller, processors: Int, date: @escaping @Sendable () -> Int64
    ) {
        self.init(store: store, logger: controller.logger, processors: processors, date: date) {
            await controller.heldMemory(fresh: $0)
        }
    }

    // MARK: Counting

    /// Adds amounts.
    func count(_ key: UsageKey, _ edit: (inout UsageCounts) -> Void) {
        state.withLock { edit(&$0.pending[key, default: UsageCounts()]) }
        writeSoon()
    }

    /// A sequence begins on a router; its `SequenceMeter` is told what it costs until it ends.
    func begin(_ key: UsageKey) -> SequenceMeter {
        let now = now()
        let (number, isFirst) = state.withLock { state in
            state.nextOpen += 1
            state.open[state.nextOpen] = Open(key: key, since: now)
            state.last[key.model] = key
            defer { if state.window == nil { state.window = Window(begun: now, held: [:]) } }
            return (state.nextOpen, state.window == nil)
        }
        if isFirst { Task { await watchMemory() } }
        return SequenceMeter(self, key, number: number, begun: now)
    }

    fileprivate func end(_ number: UInt64) {
        let now = now()
        state.withLock { state in
            guard let open = state.open.removeValue(forKey: number) else { return }
            Self.share(open, now, &state)
        }
    }

    /// - Returns: what experts have computed, as far as it is counted.
    fileprivate func spend(_ key: UsageKey, _ cost: SequenceCost, within time: Duration) -> Duration {
        // A router that was taken over may say what it likes, within what can be.
        let most = Int64(clamping: Int(time / .microseconds(1))) * Int64(processors)
        let microseconds = min(Int64(clamping: cost.expertNanoseconds / 1000), most)
        let kilobytes = Int64(clamping: cost.cacheByteMilliseconds / 1000)
        state.withLock { state in
            state.window?.cacheKilobyteMilliseconds[key.model, default: 0] += kilobytes
        }
        count(key) { counts in
            counts.expertMicroseconds += microseconds
            counts.kilobyteMilliseconds += kilobytes
            counts.coldStarts += Int64(cost.coldStarts)
        }
        return .microseconds(microseconds)
    }

    private static func share(_ open: Open, _ now: Moment, _ state: inout State) {
        guard let begun = state.window?.begun else { return }
        state.window?.shares[open.key.model, default: [:]][open.key, default: 0] +=
            max(.zero, now - max(open.since, begun)) / .seconds(1)
    }

    // MARK: Memory

    /// Books memory every second as long as there are processes, more often at first, while they come.
    private func watchMemory() async {
        var pause = Self.lookPause / 16
        var next = now() + Self.lookPause
        while true {
            try? await Task.sleep(for: pause)
            pause = min(Self.lookPause, pause * 2)
            let begun = now()
            let isTime = begun >= next
            if look(await memory(isTime)) { return }
            if isTime { next = now() + (now() - begun) * Self.lookShare }
        }
    }

    /// Books the memory of the time since the last look. True when there is nothing more to look at.
    /// - Parameters:
    ///   - held: by now.
    ///   - mayEnd: whoever looks all the time stops when this is true.
    func look(_ held: [String: Int], mayEnd: Bool = true) -> Bool {
        let now = now()
        let isOver = state.withLock { state in
            for open in state.open.values { Self.share(open, now, &state) }
            guard let window = state.window else { return true }
            let milliseconds = (now - window.begun) / .milliseconds(1)
            for model in Set(held.keys).union(window.held.keys) {
                // As if it had grown evenly.
                let bytes = Double((held[model] ?? 0) + (window.held[model] ?? 0)) / 2
                let rest = bytes / 1000 * milliseconds - Double(window.cacheKilobyteMilliseconds[model] ?? 0)
                guard rest > 0 else { continue }
                var shares = window.shares[model] ?? [:]
                var whole = shares.values.reduce(0, +)
                if whole == 0, let last = state.last[model] { (shares, whole) = ([last: 1], 1) }
                for (key, share) in shares where whole > 0 {
                    state.pending[key, default: UsageCounts()].kilobyteMilliseconds += Int64(rest * share / whole)
                }
            }
            let isOver = mayEnd && held.isEmpty && state.open.isEmpty
            state.window = isOver ? nil : Window(begun: now, held: held)
            if isOver { state.last = [:] }
            return isOver
        }
        writeSoon()
        return isOver
    }

    // MARK: Writing

    private func writeSoon() {
        let begins = state.withLock { state in
            guard !state.isWriting, !state.pending.isEmpty else { return false }
            state.isWriting = true
            return true
        }
        guard begins else { return }
        Task {
            try? await Task.sleep(for: Self.writePause)
            await OwnThread.run { self.write() }
            state.withLock { $0.isWriting = false }
            // What came meanwhile, or could not be written.
            writeSoon()
        }
    }

    /// Writes what has gathered. What cannot be written now is kept.
    public func write() {
        let amounts = state.withLock { state in
            defer { state.pending = [:] }
            return state.pending
        }
        guard !amounts.isEmpty else { return }
        do throws(StoreError) {
            try store.add(amounts, now: date())
            state.withLock { $0.isFailing = false }
        } catch {
            let isNew = state.withLock { state in
                defer { state.isFailing = true }
                return !state.isFailing
            }
            if isNew {
                logger.error("\(error.message); what is used meanwhile is kept and written when that is possible")
            }
            state.withLock { state in
                for (key, counts) in amounts { state.pending[key, default: UsageCounts()] += counts }
            }
        }
    }

    /// Sums, what was not written yet included.
    /// - Parameters: only this tenant's (nil: all), and hours that begin within these seconds since 1970.
    /// - Throws: `ControlFailure` with a store's code.
    func rows(tenant: String?, from: Int64?, to: Int64?) async throws(ControlFailure) -> [UsageRow] {
        if state.withLock({ $0.window != nil }) { _ = look(await memory(true), mayEnd: false) }
        return try await stored { store throws(StoreError) in
            try store.sums(tenant: tenant, from: from, to: to).map { UsageRow($0.key, $0.counts) }
        }
    }

    /// For a backup; see `UsageStore.hours`.
    /// - Throws: `ControlFailure` with a store's code.
    func hours(from: Int64) async throws(ControlFailure) -> [UsageHour] {
        try await stored { store throws(StoreError) in try store.hours(from: from) }
    }

    /// From a backup; see `UsageStore.merge`.
    /// - Throws: `ControlFailure` `bad_request` for what no record of use holds, or a store's code.
    func restore(_ hours: [UsageHour]) async throws(ControlFailure) {
        let latest = date() + 86_400
        if let wrong = hours.firstIndex(where: { !Self.canBe($0, latest) }) {
            throw ControlFailure(
                code: "bad_request", message: "hour \(wrong) of \(hours.count) is none that a record of use holds")
        }
        try await stored { store throws(StoreError) in try store.merge(hours) }
    }

    /// An amount beyond this is a lie, and sums of many such could not be added up.
    private static let mostOfAnHour: Int64 = 1 << 50

    private static func canBe(_ hour: UsageHour, _ latest: Int64) -> Bool {
        (0...latest).contains(hour.hour) && hour.hour % 3600 == 0
            && (hour.tenant.isEmpty || ModelName.isValid(hour.tenant)) && ModelName.isFull(hour.model)
            && (hour.key.isEmpty || AccessKey.isID(hour.key))
            && [
                hour.requests, hour.promptTokens, hour.cachedTokens, hour.outputTokens, hour.expertMicroseconds,
                hour.kilobyteMilliseconds, hour.coldStarts,
            ].allSatisfy { (0...mostOfAnHour).contains($0) }
    }

    /// Work on the record of use, off Swift's pool, when what has gathered is in it.
    private func stored<T: Sendable>(
        _ body: @escaping @Sendable (any UsageStore) throws(StoreError) -> T
    ) async throws(ControlFailure) -> T {
        let result: Result<T, StoreError> = await OwnThread.run {
            self.write()
            do throws(StoreError) { return .success(try body(self.store)) } catch { return .failure(error) }
        }
        do throws(StoreError) { return try result.get() } catch {
            throw ControlFailure(code: error.code, message: error.message)
        }
    }
}

/// The meter of one sequence on one router.
final class SequenceMeter: Sendable {
    private let metering: Metering
    private let key: UsageKey
    private let number: UInt64
    private let told: Mutex<(cost: SequenceCost, at: Moment)>

    fileprivate init(_ metering: Metering, _ key: UsageKey, number: UInt64, begun: Moment) {
        (self.metering, self.key, self.number) = (metering, key, number)
        told = Mutex((SequenceCost(), begun))
    }

    deinit { metering.end(number) }

    /// What it has held its place for until now was a start that everybody waits for.
    /// - Returns: how long that was, since the router last said what it has cost.
    func forgive() -> Duration {
        let now = metering.now()
        return told.withLock { told in
            defer { told.at = now }
            return now - told.at
        }
    }

    /// The router says what it has cost by now.
    /// - Returns: what experts have computed for it since it last said so, and how long that is ago.
    @discardableResult
    func used(_ cost: SequenceCost) -> (computed: Duration, time: Duration) {
        let now = metering.now()
        let (more, time) = told.withLock { told in
            defer { told = (cost, now) }
            return (cost.since(told.cost), now - told.at)
        }
        return (metering.spend(key, more, within: time + .seconds(1)), time)
    }
}

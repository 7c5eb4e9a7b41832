// What control answers when asked how things are. Usage is read by node from status pages, and from /proc only
// when the details are asked for.
public import FunctionModel
import Wire

extension MemoryReport {
    init(_ usage: MemoryUsage) {
        self.init(
            budgetBytes: Int(clamping: usage.budget), usedBytes: Int(clamping: usage.used),
            residentShardBytes: Int(clamping: usage.shards), privateBytes: Int(clamping: usage.processes),
            kvBytes: Int(clamping: usage.sequences))
    }
}

extension FirstTokenReport {
    init(_ parts: FirstToken) {
        func milliseconds(_ microseconds: UInt64) -> Double { Double(microseconds) / 1000 }
        self.init(
            total: milliseconds(parts.total), queue: milliseconds(UInt64(parts.queue)),
            spawn: milliseconds(UInt64(parts.spawn)), map: milliseconds(UInt64(parts.map)),
            read: milliseconds(UInt64(parts.read)), compute: milliseconds(UInt64(parts.compute)))
    }
}

extension Controller {
    /// Set in a request's number: node is to read private memory and residency as well.
    private static let detailed: UInt32 = 0x8000_0000

    /// Fresh usage of all instances; empty when there is none or no node.
    func usage(detailed: Bool) async -> [InstanceUsage] { await ask(detailed: detailed) ?? [] }

    /// Whether node answers within this time. What it says of its instances is noted, also later.
    func hearsNode(within time: Duration) async -> Bool { await ask(detailed: false, within: time) != nil }

    /// nil when there is no node, or it did not answer.
    private func ask(detailed: Bool, within time: Duration? = nil) async -> [InstanceUsage]? {
        restSoon()
        guard isUp else { return nil }
        let request = nextRequest() | (detailed ? Self.detailed : 0)
        let deadline = time.map { time in
            Task {
                try await Task.sleep(for: time)
                reports.removeValue(forKey: request)?.resume(returning: nil)
            }
        }
        defer { deadline?.cancel() }
        return await withCheckedContinuation { continuation in
            reports[request] = continuation
            send([.report(request: request)])
        }
    }

    func report(_ request: UInt32, _ usage: [InstanceUsage]) {
        for instance in table.note(usage) {
            guard let microseconds = table[instance.id]?.usage?.coldStartMicroseconds else { continue }
            statistics.coldStart(of: instance, microseconds: microseconds)
        }
        reports.removeValue(forKey: request)?.resume(returning: usage)
    }

    /// What the processes, weights and caches of each model take in bytes, as the kernel said last of each process; of one that
    /// it was not asked of yet, what such a process usually takes.
    /// - Parameter fresh: it is asked now.
    func heldMemory(fresh: Bool) async -> [String: Int] {
        if fresh, !table.isEmpty { _ = await usage(detailed: true) }
        var held: [String: Int] = [:]
        for instance in table.all where instance.state.pid != nil {
            let known = instance.proportionalBytes
            held[instance.function.model, default: 0] += known > 0 ? known : instance.function.bytes + Self.usualProcess
        }
        return held
    }

    /// Bytes of a worker beside its shard, as measured with two lanes.
    private static let usualProcess = 128 << 10

    /// `locum list`.
    public func models() -> [ModelSummary] {
        var running: [String: Int] = [:]
        for instance in table.all { running[instance.function.model, default: 0] += 1 }
        return catalog.sorted.map { ModelSummary($0, instances: running[$0.name] ?? 0) }
    }

    /// `locum describe`.
    /// - Throws: `ControlFailure` `not_found`.
    public func describe(_ name: String) async throws(ControlFailure) -> ModelDescription {
        _ = await usage(detailed: false)
        guard let model = catalog.model(name) else { throw unknown("model", name) }
        let functions = model.functions.map {
            FunctionReport(
                $0, state: table.live(function: $0.id)?.state.name ?? idleState(of: $0.id))
        }
        let prediction = predictions.first { $0.model == name }.map {
            PredictionReport(
                isOn: $0.isOn, used: Int(clamping: $0.used), late: Int(clamping: $0.late),
                wasted: Int(clamping: $0.wasted), bytesWasted: Int(clamping: $0.bytesWasted),
                secondsSaved: Double($0.microsecondsSaved) / 1e6, secondsLost: Double($0.microsecondsLost) / 1e6)
        }
        return ModelDescription(
            model, functions: functions, prediction: prediction,
            firstToken: firstTokens[name].map(FirstTokenReport.init), users: tenants?.users(of: name) ?? [],
            lanes: Int(settings.lanes))
    }

    /// A model answered from zero.
    func note(_ parts: FirstToken, of model: String) { firstTokens[model] = parts }

    /// - Throws: `ControlFailure` `not_found` when no model is named so.
    public func require(_ name: String) throws(ControlFailure) {
        guard catalog.model(name) != nil else { throw unknown("model", name) }
    }

    /// The first of these full names that a model has.
    func first(of names: [String]) -> String? { names.first { catalog.model($0) != nil } }

    /// A model's revision, and how many tokens it holds at most; nil when there is none.
    func standing(_ name: String) -> (revision: Int, context: Int)? {
        catalog.model(name).map { ($0.revision, $0.manifest.context) }
    }

    /// `locum ps`: instances that have a process, those of a model together, the router first.
    public func instances() async -> [InstanceReport] {
        _ = await usage(detailed: true)
        let moment = now()
        let rows = table.all.sorted {
            ($0.function.model, $0.function.index, $0.id) < ($1.function.model, $1.function.index, $1.id)
        }
        return rows.compactMap { instance in
            guard let pid = instance.state.pid else { return nil }
            let usage = instance.usage
            let age = moment - instance.requested
            return InstanceReport(
                function: instance.function.name, model: instance.function.model, runtime: instance.function.runtime,
                state: instance.state.name, pid: Int(pid), privateBytes: Int(clamping: usage?.privateBytes ?? 0),
                shardResidentBytes: Int(clamping: usage?.shardResidentBytes ?? 0),
                ageSeconds: (age / .milliseconds(1)).rounded() / 1000,
                invocations: Int(clamping: usage?.invocations ?? 0))
        }
    }

    private func idleState(of function: UInt64) -> String {
        faulty.contains(function) ? "faulty" : crashLoops.isPaused(function, now: now()) ? "crashing" : "none"
    }

    /// `locum status`.
    /// - Parameters: sequences under way and waiting, which are counted elsewhere.
    public func status(active: Int, queued: Int) async -> StatusReport {
        _ = await usage(detailed: false)
        var (node, features): (String, [Feature]) = ("", [])
        if case .up(_, let name, let list) = session { (node, features) = (name, list) }
        features.append(Feature(name: "locum-control", state: settings.confinement))
        return StatusReport(
            version: settings.version, node: node, nodeConnected: isUp,
            uptimeSeconds: ((now() - started) / .milliseconds(1)).rounded() / 1000, models: catalog.models.count,
            instances: table.count, sequencesActive: active, sequencesQueued: queued, coldStarts: statistics.coldStarts,
            warmAcquisitions: statistics.warmAcquisitions + Int(clamping: statistics.warmAtNode),
            invocations: Int(clamping: countInvocations()), evictions: statistics.evictions,
            crashes: statistics.crashes, coldStartMicroseconds: statistics.expertColdStart.percentiles,
            routerColdStartMicroseconds: statistics.routerColdStart.percentiles, memory: MemoryReport(memory),
            sandbox: Dictionary(features.map { ($0.name, $0.state) }, uniquingKeysWith: { first, _ in first }))
    }

    /// `locum backup`: what is deployed at this moment. Shards never change, so whoever has these names has it all.
    public func backup(_ tenants: [BackupIndex.Tenant], _ operatorKeys: [BackupIndex.Key]) -> BackupIndex {
        BackupIndex(
            locum: settings.version, models: catalog.sorted.map(BackupIndex.Model.init), tenants: tenants,
            operatorKeys: operatorKeys)
    }

    /// How it is, for `systemctl status`; of memory as node last reported.
    public var words: String {
        let models = catalog.models.count
        guard models > 0 else { return isUp ? "no model is deployed yet" : "waiting for locum-node" }
        let begin = "\(models) \(models == 1 ? "model" : "models")"
        guard isUp else { return "\(begin), waiting for locum-node" }
        guard !table.isEmpty else { return "\(begin), no function up" }
        let functions = catalog.models.values.reduce(0) { $0 + $1.functions.count }
        return "\(begin), \(table.count) of \(functions) functions up, "
            + "\(memory.used >> 20) of \(memory.budget >> 20) MB"
    }

    /// A sequence found its model's router linked already.
    func countWarm() { statistics.warmAcquisitions += 1 }

    /// `locum verify`: node hashes every shard that the registry refers to.
    /// - Throws: `ControlFailure` `unavailable` when there is no node.
    public func verify() async throws(ControlFailure) -> VerifyReport {
        guard isUp else {
            throw ControlFailure(code: "unavailable", message: "node is being started again; try in a moment")
        }
        var users: [[UInt8]: [String]] = [:]
        for model in catalog.sorted {
            for function in model.functions { users[function.digest, default: []].append(function.name) }
        }
        var (damaged, older): ([VerifyReport.Damage], [VerifyReport.Damage]) = ([], [])
        for (digest, names) in users.sorted(by: { $0.value[0] < $1.value[0] }) {
            let request = nextRequest()
            let result: (condition: ShardCondition, message: String) = await withCheckedContinuation { continuation in
                guard isUp else {
                    return continuation.resume(returning: (ShardCondition.damaged, "node was lost meanwhile"))
                }
                verifications[request] = continuation
                send([.verify(request: request, digest: digest)])
            }
            let found = VerifyReport.Damage(digest: Hexadecimal.text(digest), functions: names, message: result.message)
            switch result.condition {
            case .intact: break
            case .damaged: damaged.append(found)
            case .older: older.append(found)
            }
        }
        return VerifyReport(shards: users.count, damaged: damaged, older: older)
    }
}

// What control knows, as Prometheus wants it. Counters are those of `locum status`, so they begin with control; node's, which
// begin with node, are added up here as they grow.
import FunctionModel
import Observability
import Scheduler
import Wire

/// What routers' guesses have come to over all nodes' lives.
struct PredictionTotals: Sendable {
    private var last: [String: PredictionUsage] = [:]
    private(set) var outcomes = LabelledValues<Double>(bounded: ["outcome"], unbounded: ["model"], most: 300)

    mutating func note(_ usage: [PredictionUsage]) {
        for now in usage {
            let before = last.updateValue(now, forKey: now.model)
            for (outcome, count) in [
                ("used", \PredictionUsage.used), ("late", \.late), ("wasted", \.wasted),
            ] as [(String, KeyPath<PredictionUsage, UInt64> & Sendable)] {
                let (old, new) = (before?[keyPath: count] ?? 0, now[keyPath: count])
                // Fewer than before: node forgot, and began anew.
                outcomes.add([outcome, now.model], Double(new >= old ? new - old : new))
            }
        }
    }

    /// Another node begins with nothing.
    mutating func nodeEnded() { last = [:] }
}

extension Controller {
    /// Everything that control counts, and how things stand now.
    /// - Parameters:
    ///   - sequences: under way and waiting, by tenant.
    ///   - patience: how long it waits for what node says; then it has what was said before.
    func metrics(
        sequences: [(tenant: String, active: Int, waiting: Int)], patience: Duration = .seconds(1)
    ) async -> [MetricFamily] {
        let hearsNode = await hearsNode(within: patience)
        return state(sequences, hearsNode) + counters
    }

    private func state(
        _ sequences: [(tenant: String, active: Int, waiting: Int)], _ hearsNode: Bool
    ) -> [MetricFamily] {
        [
            MetricFamily(
                .gauge, "locum_build_info", "Always 1; the version is in the label.",
                [.init([.init("version", settings.version)], .number(1))]),
            MetricFamily(
                .gauge, "locum_node_up", "1 while control has its node and is answered by it within a second.",
                hearsNode ? 1 : 0),
            MetricFamily(.gauge, "locum_models", "Models that are deployed.", Double(catalog.models.count)),
            MetricFamily(
                .gauge, "locum_instances",
                "Processes of functions, by what runs in them and where in their life they are.",
                instanceSamples),
            MetricFamily(
                .gauge, "locum_functions_paused",
                "Functions that are not started for a while, because one instance after another ended before it answered.",
                Double(catalog.models.values.flatMap(\.functions).count { crashLoops.isPaused($0.id, now: now()) })),
            MetricFamily(
                .gauge, "locum_memory_budget_bytes", "What everything together may take.", Double(memory.budget)),
            MetricFamily(.gauge, "locum_memory_used_bytes", "What is reserved of the budget.", Double(memory.used)),
            MetricFamily(
                .gauge, "locum_memory_shard_bytes", "Of that, weights: in memory, on their way in or out.",
                Double(memory.shards)),
            MetricFamily(
                .gauge, "locum_memory_process_bytes", "Of that, processes with their arenas.", Double(memory.processes)),
            MetricFamily(
                .gauge, "locum_memory_kv_bytes", "Of that, keys and values of sequences.", Double(memory.sequences)),
            MetricFamily(
                .gauge, "locum_sequences_active", "Sequences that run.",
                sequences.map { .init([.init("tenant", $0.tenant)], .number(Double($0.active))) }),
            MetricFamily(
                .gauge, "locum_sequences_waiting", "Sequences that wait for their turn.",
                sequences.map { .init([.init("tenant", $0.tenant)], .number(Double($0.waiting))) }),
        ]
    }

    private var instanceSamples: [MetricFamily.Sample] {
        var counts: [String: Double] = [:]
        for instance in table.all { counts["\(instance.function.runtime) \(instance.state.name)", default: 0] += 1 }
        return ["router", "expert"].flatMap { runtime in
            ["starting", "ready", "draining"].map { state in
                .init(
                    [.init("runtime", runtime), .init("state", state)], .number(counts["\(runtime) \(state)"] ?? 0))
            }
        }
    }

    private var counters: [MetricFamily] {
        [
            MetricFamily(.counter, "locum_cold_starts_total", "Instances started.", Double(statistics.coldStarts)),
            MetricFamily(
                .counter, "locum_warm_acquisitions_total", "Functions asked for that had an instance.",
                Double(statistics.warmAcquisitions) + Double(statistics.warmAtNode)),
            MetricFamily(
                .counter, "locum_invocations_total", "Calls and sequences that instances answered.",
                Double(countInvocations())),
            MetricFamily(
                .counter, "locum_evictions_total",
                "Instances ended because they idled, others needed their memory, or "
                    + "somebody asked for it.", Double(statistics.evictions)),
            MetricFamily(.counter, "locum_crashes_total", "Instances that ended unasked.", Double(statistics.crashes)),
            MetricFamily(
                .counter, "locum_predicted_shards_total",
                "Shards that were read ahead: used, asked for while they were still being read, or called by nobody.",
                predictionTotals.outcomes.samples),
            MetricFamily(
                .histogram, "locum_cold_start_seconds",
                "From the decision to start an instance until its first answer, of a router its first token.",
                [("expert", statistics.expertColdStarts), ("router", statistics.routerColdStarts)].map {
                    .init([.init("runtime", $0)], .distribution($1))
                }),
        ]
    }

    /// Calls that instances answered since control began.
    func countInvocations() -> UInt64 {
        let running = table.all.reduce(UInt64(0)) { $0 + ($1.usage?.invocations ?? 0) }
        // A worker may take back what it said.
        statistics.invocations = max(statistics.invocations, statistics.endedInvocations + running)
        return statistics.invocations
    }
}

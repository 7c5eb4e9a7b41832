// One step: rows of all sequences that can go on, one forward pass, then each sequence takes its results. A
// failed pass ends the sequences that were in it, a failed row its own, with the reason; the router goes on.
import CLinux
import Link
import Syscall
import Tokenizer
import Wire

extension RouterServer {
    func step() {
        let runnable = sequences.filter(canStep)
        guard !runnable.isEmpty else { return }
        steps &+= 1
        let watchers = callers.values.filter { $0.watch != nil && !$0.outbox.isFull }
        model.record(!watchers.isEmpty)
        if let newcomer = newcomer(among: runnable, beside: []) {
            letPass(newcomer, watchers)
        } else {
            letsPass = true
            stepOfAll(plan(runnable), watchers)
        }
        removeEnded()
        for caller in Array(callers.values) { obey(caller) }
    }

    private func stepOfAll(_ served: [(Sequence, Int)], _ watchers: [Caller]) {
        let answers = served.count { $0.0.pending == 1 }
        looked = locum_monotonic_ns()
        var lent: UInt64 = 0
        let took = compute(served, watchers) { lent += look(besides: served, watchers) }
        if let took, answers > 0 {
            pace.took(took - min(took, lent), promptRows: served.reduce(0) { $0 + $1.1 } - answers)
        }
    }

    /// The requests behind these rows, each once.
    private func requests(of served: [(Sequence, Int)]) -> [RequestID] {
        var ids: [RequestID] = []
        for (sequence, _) in served where ids.count < RequestID.most {
            if let id = sequence.requestID, !ids.contains(id) { ids.append(id) }
        }
        return ids
    }

    /// Computes rows of sequences, which take their results.
    /// - Returns: nanoseconds of the pass, all between its parts included; nil when it failed.
    private func compute(
        _ served: [(Sequence, Int)], _ watchers: [Caller], between: () -> Void = {}
    ) -> UInt64? {
        let begun = locum_monotonic_ns()
        // A pass may be let pass in the middle of another one.
        let outer = connection.behalf
        connection.behalf = requests(of: served)
        defer { connection.behalf = outer }
        do throws(RouterFailure) {
            try model.forward(
                served.flatMap { $0.0.rows($0.1) }, tracing: served.contains { $0.0.traces }, between: between)
        } catch {
            spend(served)
            for (sequence, _) in served { fail(sequence, error) }
            return nil
        }
        let took = locum_monotonic_ns() - begun
        spend(served)
        if !watchers.isEmpty { tellRoutes(served, watchers) }
        var first = 0
        for (sequence, count) in served {
            if let failure = (first..<first + count).lazy.compactMap(model.failure).first {
                fail(sequence, failure)
            } else {
                take(sequence, count, first: first)
            }
            first += count
        }
        meter.touch()
        return took
    }

    private func plan(_ runnable: [Sequence]) -> [(Sequence, Int)] {
        let shares = StepPlan.shares(
            runnable.map { StepPlan.Need(rows: $0.pending, logits: $0.wantsPromptLogits && $0.pending > 1) },
            first: steps, besideAnswers: pace.rows)
        return zip(runnable, shares).filter { $0.1 > 0 }
    }

    /// In the middle of a step: looks now and then for somebody to let pass. Nothing is done meanwhile that ends a sequence.
    /// - Returns: nanoseconds that this has taken.
    private func look(besides served: [(Sequence, Int)], _ watchers: [Caller]) -> UInt64 {
        let begun = locum_monotonic_ns()
        guard letsPass, begun >= looked + lookPause else { return 0 }
        for event in (try? epoll.wait(timeoutMilliseconds: 0)) ?? [] {
            if event.token == Self.channelToken {
                // That node is gone is heard again after the step.
                _ = try? connection.poll()
            } else if let caller = callers[event.token] {
                caller.receive()
                obeyNew(caller)
            }
        }
        hearDeferred()
        if let newcomer = newcomer(among: sequences.filter(canStep), beside: served) {
            letPass(newcomer, watchers)
            // What is left is sent, and the caller's end noticed, after the step.
            if let caller = callers[newcomer.key.caller] { try? caller.outbox.flush(to: caller.socket.raw) }
        }
        looked = locum_monotonic_ns()
        return looked - begun
    }

    /// A sequence that has just come, of somebody who has no other here while others have: its first rows go first, in a pass
    /// of their own, in the middle of a step if need be. So nobody waits for what others have brought. Once per step.
    private func newcomer(among runnable: [Sequence], beside served: [(Sequence, Int)]) -> Sequence? {
        guard letsPass else { return nil }
        return runnable.first { one in
            one.isNew && one.pending > 1 && !one.wantsPromptLogits
                && !served.contains { $0.0 === one }
                && sequences.allSatisfy { $0 === one || $0.owner != one.owner }
                && runnable.contains { $0.owner != one.owner && !$0.isNew }
        }
    }

    private func letPass(_ newcomer: Sequence, _ watchers: [Caller]) {
        letsPass = false
        if let took = compute([(newcomer, min(newcomer.pending, pace.expressRows))], watchers) { pace.lent(took) }
    }

    /// Books what a pass has cost, for each sequence, and tells callers of it now and then.
    private func spend(_ served: [(Sequence, Int)]) {
        let now = locum_monotonic_ns()
        var row = 0
        for (sequence, count) in served {
            let cost = (row..<row + count).reduce(SequenceCost()) { $0 + model.cost(row: $1) }
            row += count
            let bytes = model.bytes(of: sequence.cache, computed: sequence.computedTokens.count)
            sequence.spend(cost, cacheBytes: bytes, at: now)
            tellCost(of: sequence, ends: false, at: now)
        }
    }

    private func tellCost(of sequence: Sequence, ends: Bool, at now: UInt64 = locum_monotonic_ns()) {
        guard let caller = callers[sequence.key.caller], let cost = sequence.untoldCost(ends: ends, at: now) else {
            return
        }
        caller.outbox.add(.used(cost, last: false), sequence: sequence.key.number)
    }

    private func tellRoutes(_ served: [(Sequence, Int)], _ watchers: [Caller]) {
        let rows = served.flatMap { sequence, count in
            sequence.positions(count).map {
                RouteRow(sequence: sequence.number, position: UInt32($0), isPrompt: sequence.isPrompt($0))
            }
        }
        let event = RouterEvent.routes(step: UInt64(steps), rows, experts: model.routes())
        for watcher in watchers { watcher.outbox.add(event, sequence: watcher.watch ?? 0) }
    }

    private func take(_ sequence: Sequence, _ count: Int, first: Int) {
        guard let caller = callers[sequence.key.caller] else { return }
        do throws(RouterFailure) {
            try sequence.advance(
                count, first: first, model: model, sampler: &sampler,
                scorer: TokenScorer(bytes: prompts.tokenizer.bytes(of:)), bytes: textBytes
            ) { event in
                if case .token(index: 0, _, _, _) = event {
                    let parts = sequence.clock.firstToken(at: locum_monotonic_ns(), waited: model.waited)
                    caller.outbox.add(.firstToken(parts), sequence: sequence.key.number)
                }
                if event.isLast { tellCost(of: sequence, ends: true) }
                caller.outbox.add(event, sequence: sequence.key.number)
            }
        } catch {
            fail(sequence, error)
        }
    }

    private func fail(_ sequence: Sequence, _ failure: RouterFailure) {
        tellCost(of: sequence, ends: true)
        callers[sequence.key.caller]?.outbox.add(failure.event, sequence: sequence.key.number)
        remove(keeping: false) { $0 === sequence }
    }
}

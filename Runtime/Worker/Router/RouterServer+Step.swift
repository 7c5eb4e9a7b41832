// One step: rows of all sequences that can go on, one forward pass, then each sequence takes its results. A
// failed pass ends the sequences that were in it, a failed row its own, with the reason; the router goes on.
import CLinux
import Tokenizer
import Wire

extension RouterServer {
    func step() {
        let runnable = sequences.filter(canStep)
        guard !runnable.isEmpty else { return }
        let newcomer = wasExpress ? nil : newcomer(among: runnable)
        wasExpress = newcomer != nil
        let served = newcomer.map { [($0, min($0.pending, pace.expressRows))] } ?? plan(runnable)
        steps &+= 1
        let watchers = callers.values.filter { $0.watch != nil && !$0.outbox.isFull }
        model.record(!watchers.isEmpty)
        let begun = locum_monotonic_ns()
        do throws(RouterFailure) {
            try model.forward(
                served.flatMap { $0.0.rows($0.1) }, tracing: served.contains { $0.0.traces })
        } catch {
            spend(served)
            for (sequence, _) in served { fail(sequence, error) }
            return
        }
        spend(served)
        let answers = served.count { $0.0.pending == 1 }
        if newcomer != nil {
            pace.lent(locum_monotonic_ns() - begun)
        } else if answers > 0 {
            pace.took(locum_monotonic_ns() - begun, promptRows: served.reduce(0) { $0 + $1.1 } - answers)
        }
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
        removeEnded()
    }

    private func plan(_ runnable: [Sequence]) -> [(Sequence, Int)] {
        let shares = StepPlan.shares(
            runnable.map { StepPlan.Need(rows: $0.pending, logits: $0.wantsPromptLogits && $0.pending > 1) },
            first: steps, besideAnswers: pace.rows)
        return zip(runnable, shares).filter { $0.1 > 0 }
    }

    /// A sequence that has just come, of somebody who has no other here while others have: its first rows go first, in a step
    /// of their own. Every other step is everybody's.
    private func newcomer(among runnable: [Sequence]) -> Sequence? {
        runnable.first { one in
            one.isNew && one.pending > 1 && !one.wantsPromptLogits
                && sequences.allSatisfy { $0 === one || $0.owner != one.owner }
                && runnable.contains { $0.owner != one.owner && !$0.isNew }
        }
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

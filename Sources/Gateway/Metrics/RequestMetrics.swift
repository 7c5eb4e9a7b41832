// What requests come to, counted where they are answered: how many and how they ended, and what their sequences took. Of names
// only those of tenants and models are in it, never a key's and never a word of a prompt.
import ControlPlane
import Observability
import Synchronization
import Wire

/// Counters and histograms of both listeners, since control began.
final class RequestMetrics: Sendable {
    private struct State {
        var requests = LabelledValues<Double>(bounded: ["code"], unbounded: ["tenant"], most: 600)
        var refused = LabelledValues<Double>(bounded: ["reason"], unbounded: ["tenant"], most: 400)
        var keysRefused = LabelledValues<Double>(bounded: ["reason"], unbounded: [], most: 2)
        var promptTokens = LabelledValues<Double>(unbounded: ["tenant", "model"], most: 500)
        var cachedTokens = LabelledValues<Double>(unbounded: ["tenant", "model"], most: 500)
        var outputTokens = LabelledValues<Double>(unbounded: ["tenant", "model"], most: 500)
        var firstToken = LabelledValues<Histogram>(unbounded: ["model"], most: 50, initial: .seconds)
        var nextToken = LabelledValues<Histogram>(unbounded: ["model"], most: 50, initial: .seconds)
        var queue = LabelledValues<Histogram>(unbounded: ["model"], most: 50, initial: .seconds)

        init() { expect("") }

        /// What may come of somebody has a value before it does: of the first of its kind Prometheus does not see that it is one
        /// more.
        mutating func expect(_ tenant: String) {
            for code in ["2xx", "4xx", "5xx"] { requests.add([code, tenant], 0) }
            for reason in ["queue_full", "rate_limit_exceeded"] { refused.add([reason, tenant], 0) }
            if tenant.isEmpty { for reason in ["missing", "wrong"] { keysRefused.add([reason], 0) } }
        }
    }
    private let state = Mutex(State())

    /// A request has its answer, or the beginning of one.
    func answered(_ status: Int, _ caller: Caller) {
        state.withLock { $0.requests.add(["\(status / 100)xx", caller.name]) }
    }

    /// A request got 429.
    func refused(_ reason: String, _ caller: Caller) { state.withLock { $0.refused.add([reason, caller.name]) } }

    /// A request came without a key, or with one that does not open what it asked for.
    func refusedKey(isMissing: Bool) { state.withLock { $0.keysRefused.add([isMissing ? "missing" : "wrong"]) } }

    fileprivate func started(_ tenant: String, _ model: String, prompt: Int, cached: Int) {
        state.withLock { state in
            state.promptTokens.add([tenant, model], Double(prompt))
            state.cachedTokens.add([tenant, model], Double(cached))
            state.outputTokens.add([tenant, model], 0)
        }
    }

    /// - Parameters: seconds from the request to the first token, and those that were waiting for a turn.
    fileprivate func firstToken(_ model: String, after seconds: Double, queue: Double) {
        state.withLock { state in
            state.firstToken.update([model]) { $0.observe(seconds) }
            state.queue.update([model]) { $0.observe(queue) }
        }
    }

    /// - Parameter seconds: since the token before; nil: there was none.
    fileprivate func token(_ tenant: String, _ model: String, after seconds: Double?) {
        state.withLock { state in
            state.outputTokens.add([tenant, model])
            if let seconds { state.nextToken.update([model]) { $0.observe(seconds) } }
        }
    }

    /// - Parameter tenants: those that there are now.
    func families(tenants: [String]) -> [MetricFamily] {
        let state = state.withLock { state in
            for tenant in tenants { state.expect(tenant) }
            return state
        }
        return [
            MetricFamily(
                .counter, "locum_requests_total", "HTTP requests by the class of their answer's code.",
                state.requests.samples),
            MetricFamily(
                .counter, "locum_requests_refused_total",
                "Requests that got 429: the queue was full, or a limit reached.",
                state.refused.samples),
            MetricFamily(
                .counter, "locum_keys_refused_total",
                "Requests without a key, or with one that does not open what was asked.",
                state.keysRefused.samples),
            MetricFamily(.counter, "locum_prompt_tokens_total", "Tokens of prompts.", state.promptTokens.samples),
            MetricFamily(
                .counter, "locum_cached_tokens_total",
                "Tokens of prompts that were kept from before, and not computed.",
                state.cachedTokens.samples),
            MetricFamily(.counter, "locum_output_tokens_total", "Tokens of answers.", state.outputTokens.samples),
            MetricFamily(
                .histogram, "locum_first_token_seconds", "From a request to the first token of each of its sequences.",
                state.firstToken.samples),
            MetricFamily(
                .histogram, "locum_output_token_seconds", "From one token of an answer to the next.",
                state.nextToken.samples),
            MetricFamily(
                .histogram, "locum_queue_seconds", "Of the time to the first token, waiting for a turn and for memory.",
                state.queue.samples),
        ]
    }
}

/// Counts one sequence as its events go by.
struct SequenceMeter: Sendable {
    private let metrics: RequestMetrics
    private let (tenant, model): (String, String)
    private let asked = ContinuousClock.now
    private var last: ContinuousClock.Instant?

    init(_ metrics: RequestMetrics, _ caller: Caller, model: String) {
        (self.metrics, tenant, self.model) = (metrics, caller.name, model)
    }

    mutating func note(_ event: RouterEvent) {
        switch event {
        case .started(let prompt, _, let cached):
            metrics.started(tenant, model, prompt: prompt.count, cached: Int(cached))
        case .firstToken(let parts):
            let total = (.now - asked) / .seconds(1)
            // All that the parts do not account for.
            let known = Double(parts.total - UInt64(parts.queue)) / 1e6
            metrics.firstToken(model, after: total, queue: max(0, total - known))
        case .token:
            let now = ContinuousClock.now
            metrics.token(tenant, model, after: last.map { (now - $0) / .seconds(1) })
            last = now
        default: break
        }
    }
}

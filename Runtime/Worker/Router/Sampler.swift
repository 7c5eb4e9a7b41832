// Draws a token: penalties, temperature, top-k, top-p, min-p, in this order (that of llama.cpp's classic chain
// with the temperature first, as in transformers). Everything is a function of logits, plan, history and the
// output's position: sums run in double precision in one fixed order, exp is the kernels' own, ties go to the
// lower id. So the same request draws the same tokens on every machine.
import Kernels

/// A sampler with its scratch memory; one serves all sequences of a router in turn.
struct Sampler {
    /// A token still in the draw, with its logit and its probability among those that were at first.
    private struct Candidate {
        let id: Int32
        let logit: Float
        var weight: Double

        /// Best first; ties by id.
        static func precedes(_ a: Candidate, _ b: Candidate) -> Bool {
            a.logit == b.logit ? a.id < b.id : a.logit > b.logit
        }
    }

    private var penalized: [Float] = []
    private var candidates: [Candidate] = []
    private var weights: [Float] = []

    /// The token number `position` of the output.
    /// - Parameters:
    ///   - logits: (vocabulary,)
    ///   - history: nil when the plan has no penalties.
    /// - Throws: `RouterFailure("not_finite")` when no logit is a number.
    mutating func draw(
        _ logits: UnsafeBufferPointer<Float>, _ plan: SamplingPlan, history: TokenHistory?, position: Int
    ) throws(RouterFailure) -> Int32 {
        guard plan.penalizes, let history else { return try draw(from: logits, plan, position) }
        // Taken out of self for the time being: the draw changes self.
        var values = penalized
        penalized = []
        defer { penalized = values }
        values.replaceSubrange(values.indices, with: logits)
        return try values.withUnsafeMutableBufferPointer { buffer throws(RouterFailure) in
            history.penalize(buffer, plan)
            return try draw(from: UnsafeBufferPointer(buffer), plan, position)
        }
    }

    private mutating func draw(
        from logits: UnsafeBufferPointer<Float>, _ plan: SamplingPlan, _ position: Int
    ) throws(RouterFailure) -> Int32 {
        let best = try Self.best(logits)
        guard plan.temperature > 0 else { return best }
        let most = Double(logits[Int(best)])
        let uniform = Philox.uniform(seed: plan.seed, choice: plan.choice, position: UInt32(position))
        if plan.topK > 0, plan.topK < logits.count {
            takeBest(plan.topK, of: logits)
            let total = try weigh(candidates.lazy.map(\.logit), temperature: plan.temperature, most: most)
            for index in candidates.indices { candidates[index].weight = Double(weights[index]) }
            cut(plan, of: total, among: candidates.count)
        } else {
            let total = try weigh(logits, temperature: plan.temperature, most: most)
            // No list of candidates where nobody is cut: a vocabulary is a hundred thousand tokens.
            if plan.topP >= 1, plan.minP <= 0 { return choose(uniform, of: total) ?? best }
            take(logits, weighing: plan.topP < 1 ? Self.negligible(plan, total, logits.count) : 0)
            cut(plan, of: total, among: logits.count)
        }
        return chooseCandidate(uniform) ?? best
    }

    /// The id of the largest logit, the lowest of equals.
    private static func best(_ logits: UnsafeBufferPointer<Float>) throws(RouterFailure) -> Int32 {
        var (best, value) = (-1, -Float.infinity)
        for (id, logit) in logits.enumerated() where logit > value { (best, value) = (id, logit) }
        guard best >= 0, value.isFinite else { throw notFinite }
        return Int32(best)
    }

    private static let notFinite = RouterFailure(
        "not_finite", "the model's numbers left the range of floats; its weights or its quantisation are at fault")

    /// Makes weights of logits, softmax((logit - most) / T), and answers their sum, about 1.
    private mutating func weigh(
        _ logits: some Collection<Float>, temperature: Double, most: Double
    ) throws(RouterFailure) -> Double {
        weights.removeAll(keepingCapacity: true)
        weights.reserveCapacity(logits.count)
        for logit in logits { weights.append(Float((Double(logit) - most) / temperature)) }
        var total = 0.0
        weights.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            Kernels.softmax(base, count: buffer.count)
            for weight in buffer { total += Double(weight) }
        }
        guard total.isFinite else { throw Self.notFinite }
        return total
    }

    /// All that weigh at least so much.
    private mutating func take(_ logits: UnsafeBufferPointer<Float>, weighing least: Double) {
        candidates.removeAll(keepingCapacity: true)
        for (id, weight) in weights.enumerated() where Double(weight) >= least {
            candidates.append(Candidate(id: Int32(id), logit: logits[id], weight: Double(weight)))
        }
    }

    /// The best `count`, best first: collects what beats the worst kept so far and sorts when twice as many came.
    private mutating func takeBest(_ count: Int, of logits: UnsafeBufferPointer<Float>) {
        candidates.removeAll(keepingCapacity: true)
        var floor = -Float.infinity
        for (id, logit) in logits.enumerated() where logit > floor || candidates.count < count {
            candidates.append(Candidate(id: Int32(id), logit: logit, weight: 0))
            if candidates.count >= 2 * count + 64 {
                keepBest(count)
                floor = candidates[count - 1].logit
            }
        }
        keepBest(count)
    }

    private mutating func keepBest(_ count: Int) {
        candidates.sort(by: Candidate.precedes)
        if candidates.count > count { candidates.removeLast(candidates.count - count) }
    }

    /// Top-p, then min-p.
    private mutating func cut(_ plan: SamplingPlan, of total: Double, among count: Int) {
        if plan.topP < 1 { cutTail(keeping: plan.topP * total, Self.negligible(plan, total, count)) }
        if plan.minP > 0 {
            let least = plan.minP * (candidates.lazy.map(\.weight).max() ?? 0)
            candidates.removeAll { $0.weight < least }
        }
    }

    /// What weighs less than an even part of the tail that top-p cuts off is in that tail.
    private static func negligible(_ plan: SamplingPlan, _ total: Double, _ count: Int) -> Double {
        (1 - plan.topP) * total / Double(count) * 0.5
    }

    /// Nucleus sampling: the fewest best candidates whose weights reach `goal` (Holtzman et al., "The Curious Case of
    /// Neural Text Degeneration", 2020). The negligible go first, so only few are sorted.
    private mutating func cutTail(keeping goal: Double, _ negligible: Double) {
        candidates.removeAll { $0.weight < negligible }
        candidates.sort(by: Candidate.precedes)
        var (sum, kept) = (0.0, 0)
        while kept < candidates.count {
            sum += candidates[kept].weight
            kept += 1
            if sum >= goal { break }
        }
        candidates.removeLast(candidates.count - kept)
    }

    /// The token at which the weights, one after another, reach a share of their sum.
    private func choose(_ uniform: Double, of total: Double) -> Int32? {
        Self.place(uniform, of: total, in: weights.lazy.map { Double($0) }).map { Int32($0) }
    }

    private func chooseCandidate(_ uniform: Double) -> Int32? {
        let total = candidates.reduce(0) { $0 + $1.weight }
        return Self.place(uniform, of: total, in: candidates.lazy.map(\.weight)).map { candidates[$0].id }
    }

    private static func place(_ uniform: Double, of total: Double, in weights: some Collection<Double>) -> Int? {
        let target = uniform * total
        var (sum, last): (Double, Int?) = (0, nil)
        for (index, weight) in weights.enumerated() {
            sum += weight
            if sum > target { return index }
            if weight > 0 { last = index }
        }
        return last
    }
}

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
    private var scaled: [Float] = []

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
        if plan.topK > 0, plan.topK < logits.count {
            takeBest(plan.topK, of: logits)
        } else {
            takeAll(logits)
        }
        let total = weigh(temperature: plan.temperature, most: most)
        guard total.isFinite else { throw Self.notFinite }
        if plan.topP < 1 { cutTail(keeping: plan.topP, of: total) }
        if plan.minP > 0 {
            let least = plan.minP * (candidates.lazy.map(\.weight).max() ?? 0)
            candidates.removeAll { $0.weight < least }
        }
        return choose(Philox.uniform(seed: plan.seed, choice: plan.choice, position: UInt32(position))) ?? best
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

    /// Gives the candidates their weights, softmax((logit - most) / T), and answers their sum, about 1.
    private mutating func weigh(temperature: Double, most: Double) -> Double {
        scaled.removeAll(keepingCapacity: true)
        for candidate in candidates { scaled.append(Float((Double(candidate.logit) - most) / temperature)) }
        scaled.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            Kernels.softmax(base, count: buffer.count)
        }
        var total = 0.0
        for index in candidates.indices {
            candidates[index].weight = Double(scaled[index])
            total += candidates[index].weight
        }
        return total
    }

    private mutating func takeAll(_ logits: UnsafeBufferPointer<Float>) {
        candidates.removeAll(keepingCapacity: true)
        candidates.reserveCapacity(logits.count)
        for (id, logit) in logits.enumerated() { candidates.append(Candidate(id: Int32(id), logit: logit, weight: 0)) }
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

    /// Nucleus sampling: the fewest best candidates whose weights reach `share` of `total` (Holtzman et al.,
    /// "The Curious Case of Neural Text Degeneration", 2020). What weighs less than an even part of the rest
    /// cannot be among them, so only few are sorted.
    private mutating func cutTail(keeping share: Double, of total: Double) {
        let negligible = (1 - share) * total / Double(candidates.count) * 0.5
        candidates.removeAll { $0.weight < negligible }
        candidates.sort(by: Candidate.precedes)
        var (sum, kept) = (0.0, 0)
        while kept < candidates.count {
            sum += candidates[kept].weight
            kept += 1
            if sum >= share * total { break }
        }
        candidates.removeLast(candidates.count - kept)
    }

    private func choose(_ uniform: Double) -> Int32? {
        var total = 0.0
        for candidate in candidates { total += candidate.weight }
        let target = uniform * total
        var sum = 0.0
        for candidate in candidates {
            sum += candidate.weight
            if sum > target { return candidate.id }
        }
        return candidates.last { $0.weight > 0 }?.id
    }
}

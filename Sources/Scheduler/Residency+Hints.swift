// Predictions. A hint waits in a list until no want waits; loaded, it counts against the hint budget until it is
// called, overtaken or evicted. What became of each hint is kept for the predictor's own account (PredictionGate).

/// What became of a hint.
public struct HintOutcome: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// It was called after it was loaded.
        case used
        /// It was wanted or called while it was being loaded.
        case late
        /// It was loaded for nothing.
        case wasted
        /// It was never loaded: pushed out, not worth its place, or wanted first.
        case dropped
    }

    public var id: UInt64
    public var bytes: Int
    public var kind: Kind

    public init(id: UInt64, bytes: Int, kind: Kind) { (self.id, self.bytes, self.kind) = (id, bytes, kind) }
}

extension Residency {
    /// It will probably be called soon. Nothing happens when it is in memory or on its way.
    ///
    /// - Parameter confidence: the probability of the call, 0...1.
    @discardableResult
    public mutating func hint(_ id: UInt64, confidence: Double = 0.5) -> Bool {
        guard let slot = slots[id], items[slot].state == .absent, hintBudget > 0 else { return false }
        policy.hinted(slot, confidence: confidence)
        guard !hints.contains(slot) else { return true }
        if hints.count == Self.hintsAtOnce { dropHint(hints[0]) }
        hints.append(slot)
        return true
    }

    /// The calls of this layer are known: its hints that were not called are overtaken.
    public mutating func settleHints(model: Int = 0, layer: Int) {
        for slot in hints where items[slot].model == model && items[slot].layer == layer { dropHint(slot) }
        guard hinted > 0 else { return }
        for slot in items.indices
        where items[slot].isHinted && items[slot].model == model && items[slot].layer == layer {
            settleHint(slot, .wasted)
        }
    }

    /// What became of the hints since the last time this was asked.
    public mutating func takeHintOutcomes() -> [HintOutcome] {
        defer { outcomes = [] }
        return outcomes
    }

    /// A hint that was not served leaves the list.
    mutating func dropHint(_ slot: Int) {
        guard let place = hints.firstIndex(of: slot) else { return }
        hints.remove(at: place)
        note(slot, .dropped)
    }

    /// A hint that was served is none any more.
    mutating func settleHint(_ slot: Int, _ kind: HintOutcome.Kind) {
        items[slot].isHinted = false
        hinted -= items[slot].bytes
        note(slot, kind)
    }

    private mutating func note(_ slot: Int, _ kind: HintOutcome.Kind) {
        // Nobody has to ask: the latest will do.
        if outcomes.count >= 4 * Self.hintsAtOnce { outcomes.removeFirst(2 * Self.hintsAtOnce) }
        outcomes.append(HintOutcome(id: items[slot].id, bytes: items[slot].bytes, kind: kind))
    }
}

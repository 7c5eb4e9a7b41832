// Locum's own policy: keep what is likely to be called at its layer's next visit, per byte and unit of time.
//
//   value = p * urgency * cost per byte            p = frequency * recency
//   frequency  share of the layer's visits that called the item, halved every 128 visits; the layer's mean share
//              counts as 16 visits more, so that an item just met is worth neither nothing nor all
//   recency    how much likelier than its frequency says an item of this age is called; age = visits since its last
//              call, in octaves. Learned while running, per layer with the model as the prior: calls seen at that
//              age / calls that frequency alone would have given. Trained routers repeat themselves from one token
//              to the next (tales-moe: 0.13 at layer 0, 0.36 at layer 4, against 0.125) and forget slowly after; how
//              much differs by layer and model, which is why no fixed formula (LRFU was tried) comes near.
//   urgency    1 / visits between two visits of the layer, or since the last one if that is longer (an idle model
//              fades), less up to 30 % for a layer just left: its next visit is a whole token away.
//
// Hit rates in % with 25 / 50 / 75 % of the bytes resident, from cold (PolicyTests prints it):
//
//                        lru               lfu               gdsf              locum             belady
//   tales-moe, 10 tales  38.1 63.9 85.4    32.8 59.6 82.0    33.9 60.3 81.4    43.5 68.7 87.4    65.8 85.4 95.4
//   flat    6 x 60       24.3 48.8 74.3    24.1 49.3 74.2    23.1 48.5 74.4    24.1 49.6 74.3    58.5 79.5 92.1
//   medium  6 x 60       59.8 78.1 90.4    57.6 76.6 90.2    65.4 81.5 91.8    68.5 82.2 91.9    79.1 90.9 96.6
//   strong  6 x 60       84.5 93.0 97.0    80.0 91.6 96.9    87.2 94.2 97.5    88.3 94.2 97.4    92.1 96.8 98.6
//   flat   24 x 60       24.0 48.4 73.8    24.7 49.7 74.6    22.3 48.2 73.9    24.7 49.7 74.7    59.4 79.8 92.2
//   medium 24 x 60       59.0 77.5 90.2    57.1 76.3 89.2    64.7 81.2 91.5    68.1 82.1 91.5    79.3 90.9 96.6
//   strong 24 x 60       84.7 93.1 97.2    79.8 91.0 96.5    87.7 94.4 97.5    88.5 94.4 97.4    92.4 97.0 98.7
//
// Synthetic ones are 2,000 tokens of layers x experts, top 4. With flat routing the past says nothing, and what
// Belady has above the others is knowledge of the future.
//
// In a prototype of it, half-lives of 64 to 256 visits changed 0.8 points at most, phase discounts of 0 to 50 % and
// recency learned over 50 to 800 visits 0.5; LRFU's best half-life (8) stayed 3 points below on tales-moe at 50 %.
// A visit costs one pass over the items of its layer.

public struct LocumPolicy: ResidencyPolicy {
    /// 24 bytes, because a scan reads thousands of them.
    private struct Entry {
        /// Decayed visits that called it, times the layer's `scale`; 0: none that is remembered.
        var calls = 0.0
        var cost: Float = 0
        /// Probability given by a hint; valid until the layer's clock moves past `hintedAt`.
        var hint: Float = 0
        /// The layer's clock at the last call. Clocks wrap; whoever was called so long ago is forgotten long before.
        var last: UInt32 = 0
        var layer: Int32 = 0
    }

    private struct LayerScan {
        var clock: UInt32 = 0
        var perCall = 0.0
        var floor = 0.0
        var urgency = 0.0
    }

    private struct LayerKey: Hashable {
        var model: Int
        var layer: Int
    }

    private var entries = SlotArray(Entry())
    private var hintedAt = SlotArray(UInt32(0))
    private var layers: [LayerHistory] = []
    private var members: [[Int32]] = []
    private var models: [Int: ModelHistory] = [:]
    private var layerOf: [LayerKey: Int] = [:]
    private var unusedLayers: [Int] = []
    /// Visits of all layers.
    private var now = 0
    /// What a scan reads, small and together: per layer, and by layer and age.
    private var scans: [LayerScan] = []
    private var weights: [Double] = []

    private static let phaseDiscount = 0.3

    public init() {}

    public mutating func added(_ slot: Int, _ item: PolicyItem) {
        let key = LayerKey(model: item.model, layer: item.layer)
        let layer: Int
        if let known = layerOf[key] {
            layer = known
        } else {
            let fresh = LayerHistory(model: item.model, layer: item.layer)
            if let unused = unusedLayers.popLast() {
                layers[unused] = fresh
                layer = unused
            } else {
                layers.append(fresh)
                members.append([])
                layer = layers.count - 1
            }
            layerOf[key] = layer
            models[item.model, default: ModelHistory()].layers += 1
        }
        members[layer].append(Int32(slot))
        let bytes = max(item.bytes, 1)
        entries.set(slot, Entry(cost: Float(readCost(bytes) / Double(bytes)), layer: Int32(layer)))
        hintedAt.set(slot, 0)
    }

    public mutating func removed(_ slot: Int) {
        let layer = Int(entries[slot].layer)
        members[layer].removeAll { $0 == Int32(slot) }
        guard members[layer].isEmpty else { return }
        let key = LayerKey(model: layers[layer].model, layer: layers[layer].layer)
        layerOf[key] = nil
        unusedLayers.append(layer)
        models[key.model]?.layers -= 1
        if models[key.model]?.visited == layer { models[key.model]?.visited = nil }
        if models[key.model]?.layers == 0 { models[key.model] = nil }
    }

    public mutating func accessed(_ slot: Int, times: Int) {
        let layer = Int(entries[slot].layer)
        let model = layers[layer].model
        // A visit ends when its model goes to another layer, or when a call repeats (a model of one layer).
        let isRepeated = entries[slot].calls > 0 && entries[slot].last == layers[layer].clock
        if models[model]?.visited != layer || isRepeated { visit(layer) }
        layers[layer].calls += 1
        if entries[slot].calls > 0 {
            let age = RecencyCounts.age(layers[layer].clock &- entries[slot].last)
            layers[layer].recency.hits[age] += 1
            models[model]?.recency.hits[age] += 1
        }
        entries[slot].calls += layers[layer].scale
        entries[slot].last = layers[layer].clock
        entries[slot].hint = 0
        layers[layer].isLearned = false
    }

    /// Opens a visit: every item of the layer could be called now.
    private mutating func visit(_ layer: Int) {
        now += 1
        if let factor = layers[layer].open(now: now, layers: layers.count, members: members[layer].count) {
            for member in members[layer] { entries[Int(member)].calls *= factor }
        }
        let clock = layers[layer].clock
        let (perCall, floor) = (layers[layer].perCall, layers[layer].floor)
        var expected = InlineArray<8, Double>(repeating: 0)
        for member in members[layer] {
            let (calls, last) = (entries[Int(member)].calls, entries[Int(member)].last)
            if calls > 0 { expected[RecencyCounts.age(clock &- last)] += calls * perCall + floor }
        }
        layers[layer].recency.add(expected: expected, halvingIn: 200)
        models[layers[layer].model]?.opened(layer, expected: expected)
    }

    public mutating func hinted(_ slot: Int, confidence: Double) {
        entries[slot].hint = Float(min(max(confidence, 0), 1))
        hintedAt[slot] = layers[Int(entries[slot].layer)].clock
    }

    public mutating func prepare() {
        let missing = layers.count - scans.count
        scans += [LayerScan](repeating: LayerScan(), count: missing)
        weights += [Double](repeating: 0, count: missing * RecencyCounts.ages)
        for index in layers.indices {
            if !layers[index].isLearned, let model = models[layers[index].model] { layers[index].learn(from: model) }
            let elapsed = Double(now - layers[index].lastVisit)
            let gap = layers[index].gap
            let urgency = 1 / max(gap, elapsed)
            let discounted = urgency * (1 - Self.phaseDiscount * max(0, 1 - elapsed / gap))
            scans[index] = LayerScan(
                clock: layers[index].clock, perCall: layers[index].perCall, floor: layers[index].floor,
                urgency: urgency)
            for age in 0..<RecencyCounts.ages {
                weights[index * RecencyCounts.ages + age] = discounted * layers[index].ratios[age]
            }
        }
    }

    public func value(_ slot: Int) -> Double {
        let entry = entries[slot]
        let layer = Int(entry.layer)
        let scan = scans[layer]
        // The next visit is what counts, so the age is one more than it is now.
        let age = entry.calls > 0 ? RecencyCounts.age(scan.clock &+ 1 &- entry.last) : RecencyCounts.ages - 1
        var value = (entry.calls * scan.perCall + scan.floor) * weights[layer * RecencyCounts.ages + age]
        if entry.hint > 0, hintedAt[slot] == scan.clock { value = max(value, Double(entry.hint) * scan.urgency) }
        return value * Double(entry.cost)
    }
}

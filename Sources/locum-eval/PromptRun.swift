// What one prompt gave, in the order in which the reference arrays lie: by layer, then by position.

/// Arrays of one prompt.
struct PromptRun {
    let positions: Int
    var greedy: [Int32] = []
    /// Positions seen so far.
    private(set) var traced = 0
    /// (positions, vocabulary)
    private var logits: [Float] = []
    /// Per MoE layer: (positions, experts), (positions, k), (positions, k).
    private var router: [[Float]] = []
    private var experts: [[Int32]] = []
    private var weights: [[Float]] = []

    var layers: Int { router.count }

    init(positions: Int) { self.positions = positions }

    /// The next position's logits (vocabulary,) and per MoE layer what its gate said.
    mutating func add(logits: [Float], router: [[Float]], experts: [[Int32]], weights: [[Float]]) {
        self.logits += logits
        if traced == 0 {
            self.router = Array(repeating: [], count: router.count)
            self.experts = Array(repeating: [], count: experts.count)
            self.weights = Array(repeating: [], count: weights.count)
        }
        for (layer, values) in router.enumerated() { self.router[layer] += values }
        for (layer, values) in experts.enumerated() { self.experts[layer] += values }
        for (layer, values) in weights.enumerated() { self.weights[layer] += values }
        traced += 1
    }

    func write(to writer: inout SafetensorsWriter, prefix: String) {
        writer.add("\(prefix).logits", shape: [positions, logits.count / max(1, positions)], logits)
        let experts = self.experts.flatMap { $0 }
        let router = self.router.flatMap { $0 }
        let perLayer = max(1, positions * layers)
        writer.add("\(prefix).router_logits", shape: [layers, positions, router.count / perLayer], router)
        writer.add("\(prefix).experts", shape: [layers, positions, experts.count / perLayer], experts)
        writer.add(
            "\(prefix).expert_weights", shape: [layers, positions, experts.count / perLayer], weights.flatMap { $0 })
        writer.add("\(prefix).greedy", shape: [greedy.count], greedy)
    }
}

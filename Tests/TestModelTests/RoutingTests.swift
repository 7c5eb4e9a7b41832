// What the dial promises, counted in real forward passes: how often LRU finds an expert when it keeps half of a
// layer's, how flat the choice is, how alike neighbouring tokens choose, how well the next layer is foreseen.
import Glibc
import Kernels
import TestModel
import Testing

@Suite struct RoutingTests {
    @Test(
        "LRU with half of 60 experts hits as the skew says",
        arguments: [(0, 0.46...0.54), (0.8, 0.75...0.86), (1.4, 0.93...1)])
    func skew(_ skew: Double, _ hits: ClosedRange<Double>) throws {
        let counted = try Count(RoutingDial(skew: skew))
        print("skew \(skew): \(counted.words)")
        #expect(hits.contains(counted.mean(\.lruHits)))
        for layer in counted.layers {
            // Each layer by itself strays a little more; without skew all experts are as good.
            #expect(hits.lowerBound - 0.05...hits.upperBound + 0.05 ~= layer.lruHits)
            #expect(skew == 0 ? layer.topShare < 0.06 && layer.entropy > 0.97 : layer.topShare < 0.26)
            #expect(abs(layer.deviation - 1.28) < 0.15)
        }
        // The correlation is 0.5, and popular experts are easily foreseen.
        for layer in counted.layers.dropLast() { #expect(0.4 + skew / 5...0.55 + skew / 5 ~= layer.foreseen) }
    }

    @Test(
        "Tokens that follow each other choose alike as the repetition says",
        arguments: [(0, 0.04...0.1), (0.4, 0.14...0.3), (0.9, 0.4...0.7)])
    func repetition(_ repetition: Double, _ share: ClosedRange<Double>) throws {
        let counted = try Count(RoutingDial(repetition: repetition))
        print("repetition \(repetition): \(counted.words)")
        #expect(share.contains(counted.mean(\.repeated)))
        // Nobody is popular for long.
        #expect(counted.layers.allSatisfy { $0.entropy > 0.9 })
    }

    @Test(
        "The next layer is foreseen as the correlation says",
        arguments: [(0, 0.05...0.25), (0.25, 0.25...0.42), (1, 0.85...1)])
    func correlation(_ correlation: Double, _ share: ClosedRange<Double>) throws {
        let counted = try Count(RoutingDial(correlation: correlation))
        print("correlation \(correlation): \(counted.words)")
        for layer in counted.layers.dropLast() { #expect(share.contains(layer.foreseen)) }
    }

    @Test("Logits are finite, and the most probable token neither repeats nor comes round at once")
    func greedy() throws {
        try withFolder { folder in
            try TestModel.tiny(.q4_0, RoutingDial(skew: 0.8, repetition: 0.3)).write(to: "\(folder)/m", threads: 2)
            let pass = try ForwardPass(path: "\(folder)/m", capacity: 64)
            var (token, seen) = (300, Set<Int>())
            for _ in 0..<48 {
                let logits = pass.step(token).logits
                #expect(logits.allSatisfy { $0.isFinite && abs($0) < 40 })
                token = logits.indices.max { logits[$0] < logits[$1] } ?? 0
                seen.insert(token)
            }
            #expect(seen.count > 16)
            // Control tokens end a text: none may come by chance.
            #expect(!seen.contains { $0 >= 1021 })
        }
    }
}

/// Routing of 400 random tokens, layer by layer.
private struct Count {
    struct Layer {
        /// The most popular expert's share of all choices, and the shares' entropy as a part of the largest.
        var topShare, entropy: Double
        /// Share of choices that LRU had, keeping half of the layer's experts; the first 100 tokens warm it.
        var lruHits: Double
        /// Share of a token's experts that the token before had.
        var repeated: Double
        /// Share of the next layer's experts that its gate named a layer early.
        var foreseen: Double
        var deviation: Double
    }

    let layers: [Layer]

    func mean(_ value: (Layer) -> Double) -> Double { layers.reduce(0) { $0 + value($1) } / Double(layers.count) }

    var words: String {
        layers.map {
            func percent(_ x: Double) -> String { "\((x * 1000).rounded() / 10) %" }
            return "top-1 \(percent($0.topShare)), entropy \(percent($0.entropy)), LRU \(percent($0.lruHits)), "
                + "repeated \(percent($0.repeated)), foreseen \(percent($0.foreseen))"
        }.joined(separator: " | ")
    }

    init(_ dial: RoutingDial) throws {
        let tokens = 400
        let runs = try withFolder { folder in
            let model = try TestModel.sixtyExperts(dial)
            try model.write(to: "\(folder)/m", threads: 2)
            let pass = try ForwardPass(path: "\(folder)/m", capacity: tokens)
            var random: UInt64 = 11
            return (0..<tokens).map { _ in
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return pass.step(Int(random >> 40) % (model.shape.vocabulary - 3)).choices
            }
        }
        layers = (0..<(runs.first?.count ?? 0)).map { Self.count(runs, $0) }
    }

    private static func count(_ runs: [[GateChoice]], _ layer: Int) -> Layer {
        let chosen = runs.map { $0[layer].experts }
        let experts = runs[0][layer].logits.count
        var (uses, recent) = ([Double](repeating: 0, count: experts), [Int]())
        var (hits, asked) = (0, 0)
        for (token, set) in chosen.enumerated() {
            if token >= 100 {
                hits += set.count { recent.contains($0) }
                asked += set.count
            }
            for expert in set { uses[expert] += 1 }
            recent = Array((set + recent.filter { !set.contains($0) }).prefix(experts / 2))
        }
        func overlap(_ pairs: some Sequence<([Int], [Int])>) -> Double {
            var (same, all) = (0, 0)
            for (a, b) in pairs {
                same += b.count { a.contains($0) }
                all += b.count
            }
            return all == 0 ? 0 : Double(same) / Double(all)
        }
        let total = uses.reduce(0, +)
        let shares = uses.map { $0 / total }
        let entropy = shares.reduce(0) { $1 > 0 ? $0 - $1 * log($1) : $0 } / log(Double(experts))
        // Over tokens, expert by expert: what popularity adds to each is no deviation.
        let variances = (0..<experts).map { expert -> Double in
            let values = runs.dropFirst(50).map { Double($0[layer].logits[expert]) }
            let mean = values.reduce(0, +) / Double(values.count)
            return values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        }
        let next = layer + 1 < runs[0].count ? runs.map { ($0[layer].foreseen, $0[layer + 1].experts) } : []
        return Layer(
            topShare: shares.max() ?? 0, entropy: entropy, lruHits: Double(hits) / Double(asked),
            repeated: overlap(zip(chosen, chosen.dropFirst())), foreseen: overlap(next),
            deviation: (variances.reduce(0, +) / Double(experts)).squareRoot())
    }
}

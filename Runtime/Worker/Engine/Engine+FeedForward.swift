// The second half of a layer: a dense network, or gate, shared expert and experts.
//
// The order of a row's sum is fixed: stream, + weight × expert in rank order by fused multiply-adds, + the
// shared expert times its sigmoid.
import Kernels
import Shard
import Wire

extension Engine {
    /// stream += down( silu(gate x) * (up x) ), x = norm(stream).
    func dense(_ index: Int, _ network: FeedForwardWeights) {
        let space = space
        normalise(weights.layers[index].feedForwardNorm)
        pool.run(pieces: network.gate.pieces) { [self] thread, pieces in activate(network, thread, pieces) }
        addProduct(network.down, space.gate)
    }

    /// stream += sum of weight × expert(x) + sigmoid(w · x) × shared(x), x = norm(stream).
    func experts(_ index: Int, _ block: ExpertBlock) throws(EngineError) {
        let (space, count) = (space, space.batch.rows)
        normalise(weights.layers[index].feedForwardNorm)
        multiply(block.gate, space.normed, into: space.scores, count: count)
        forRows(count) { [self] row in choose(row) }
        if !space.batch.traces.isEmpty { trace() }
        recordChoice()
        var first = 0
        while first < count {
            let rows = min(dispatcher.mostRows, count - first)
            try apply(block, rows: first..<first + rows)
            first += rows
        }
    }

    /// Has the experts of some rows applied, and sums them up. The shared expert is computed behind them, so that the
    /// thread whose calls take less has more of it; where shards may have to be read, while the calls are out, so that
    /// they are read meanwhile.
    private func apply(_ block: ExpertBlock, rows: Range<Int>) throws(EngineError) {
        let (space, dispatcher, k) = (space, dispatcher, config.expertsPerToken)
        try dispatcher.plan(
            ExpertWork(
                layer: block.ordinal, rows: rows.count, hidden: space.normed.row(rows.lowerBound),
                stride: space.normed.stride, experts: UnsafePointer(space.chosen + rows.lowerBound * k), perRow: k))
        if rows.lowerBound == 0, let shared = block.shared {
            let isLate = dispatcher.readsShards
            pool.run(pieces: shared.network.gate.pieces) { [self] thread, pieces in
                dispatcher.send(thread: thread)
                if thread == 0 { predict(after: block, rows: rows) }
                if !isLate { dispatcher.receive(thread: thread) }
                activate(shared.network, thread, pieces)
                for row in stride(from: thread, to: space.batch.rows, by: pool.count) {
                    space.sharedShare[row] = Kernels.sigmoid(
                        Self.dot(shared.gate, space.normed.row(row), count: config.hidden))
                }
            }
            let down = shared.network.down
            pool.run(pieces: down.pieces) { [self] thread, pieces in
                while let piece = pieces.next(thread) {
                    multiply(down, rows: down.piece(piece), space.gate, into: space.update, count: space.batch.rows)
                }
                if isLate { dispatcher.receive(thread: thread) }
            }
        } else {
            call(predictingAfter: rows.lowerBound == 0 ? block : nil, rows: rows)
        }
        while try !dispatcher.settle() { call() }
        for (row, error) in dispatcher.failures { space.batch.failures[rows.lowerBound + row] = error }
        for row in rows {
            space.batch.costs[row] = space.batch.costs[row] + dispatcher.cost(row: row - rows.lowerBound)
        }
        let (outputs, width) = (dispatcher.outputs, config.hidden)
        let hasShared = block.shared != nil
        forRows(rows.count) { index in
            let row = rows.lowerBound + index
            let sum = space.stream.row(row)
            for rank in 0..<k {
                guard let output = outputs[index * k + rank] else { continue }
                Kernels.axpy(space.shares[row * k + rank], output, to: sum, count: width)
            }
            if hasShared { Kernels.axpy(space.sharedShare[row], space.update.row(row), to: sum, count: width) }
        }
    }

    /// Sends what is planned and waits for the answers; meanwhile says which calls the next layer is likely to make.
    private func call(predictingAfter block: ExpertBlock? = nil, rows: Range<Int> = 0..<0) {
        pool.run { [self] thread in
            dispatcher.send(thread: thread)
            if thread == 0, let block { predict(after: block, rows: rows) }
            dispatcher.receive(thread: thread)
        }
    }

    /// Says which experts the next layer is likely to choose: its gate applied to the stream as it is now, without what
    /// this layer's experts are about to add. Trained models change the stream little from layer to layer. Only for
    /// decode steps; a prompt calls nearly every expert anyway.
    private func predict(after block: ExpertBlock, rows: Range<Int>) {
        guard rows.count <= Workspace.guessRows, dispatcher.wantsHints, let next = weights.block(block.ordinal + 1)
        else {
            return
        }
        let (experts, k) = (config.expertCount, config.expertsPerToken)
        space.guesses.removeAll(keepingCapacity: true)
        for (index, row) in rows.enumerated() {
            Kernels.rmsNorm(
                space.stream.row(row), weight: next.norm, epsilon: config.rmsEpsilon, count: config.hidden,
                into: space.guess.row(index))
        }
        next.block.gate.multiply(
            rows: 0..<experts, inputs: space.guess.inputs(next.block.gate.format), outputs: space.guessScores.outputs,
            count: rows.count)
        for index in 0..<rows.count {
            let scores = space.guessScores.row(index)
            for _ in 0..<k {
                var best = 0
                for expert in 1..<experts where scores[expert] > scores[best] { best = expert }
                scores[best] = -.infinity
                if !space.guesses.contains(Int32(best)) { space.guesses.append(Int32(best)) }
            }
        }
        space.guesses.withUnsafeBufferPointer { dispatcher.hint(layer: block.ordinal + 1, experts: $0) }
    }

    /// gate = silu(gate x) * (up x), ready for `down`, piece by piece, so that no thread waits between.
    private func activate(_ network: FeedForwardWeights, _ thread: Int, _ pieces: WorkPieces) {
        let (space, count) = (space, space.batch.rows)
        while let piece = pieces.next(thread) {
            let part = network.gate.piece(piece)
            multiply(network.gate, rows: part, space.normed, into: space.gate, count: count)
            multiply(network.up, rows: part, space.normed, into: space.up, count: count)
            for row in 0..<count {
                let gate = space.gate.row(row) + part.lowerBound
                Kernels.siluMultiply(gate: gate, up: space.up.row(row) + part.lowerBound, count: part.count, into: gate)
                if network.down.format.isQuantized { space.gate.prepare(row: row, columns: part) }
            }
        }
    }

    /// The row's best experts by probability, ties to the lower index, and their weights.
    private func choose(_ row: Int) {
        let (experts, k) = (config.expertCount, config.expertsPerToken)
        let probabilities = space.probabilities.row(row)
        probabilities.update(from: space.scores.row(row), count: experts)
        Kernels.softmax(probabilities, count: experts)
        let chosen = space.chosen + row * k
        let shares = space.shares + row * k
        var sum: Float = 0
        for rank in 0..<k {
            var best = 0
            for expert in 1..<experts where probabilities[expert] > probabilities[best] { best = expert }
            (chosen[rank], shares[rank]) = (Int32(best), probabilities[best])
            sum += probabilities[best]
            // Below every probability, so that it is not chosen again.
            probabilities[best] = -1
        }
        if config.normalizesTopK {
            for rank in 0..<k { shares[rank] /= sum }
        }
    }

    private func trace() {
        let (experts, k) = (config.expertCount, config.expertsPerToken)
        for row in 0..<space.batch.rows {
            space.batch.traces[row].router.append(
                Array(UnsafeBufferPointer(start: space.scores.row(row), count: experts)))
            space.batch.traces[row].experts.append(Array(UnsafeBufferPointer(start: space.chosen + row * k, count: k)))
            space.batch.traces[row].weights.append(Array(UnsafeBufferPointer(start: space.shares + row * k, count: k)))
        }
    }

    /// a · b over 16 strided partial sums, folded 8, 4, 2, 1. Product and sum are rounded singly.
    private static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
        var sums = SIMD16<Float>(repeating: 0)
        let whole = count / 16 * 16
        for start in stride(from: 0, to: whole, by: 16) {
            let x = UnsafeRawPointer(a + start).loadUnaligned(as: SIMD16<Float>.self)
            let y = UnsafeRawPointer(b + start).loadUnaligned(as: SIMD16<Float>.self)
            sums += x * y
        }
        for index in whole..<count { sums[index - whole] += a[index] * b[index] }
        let eight = sums.lowHalf + sums.highHalf
        let four = eight.lowHalf + eight.highHalf
        let two = four.lowHalf + four.highHalf
        return two.x + two.y
    }
}

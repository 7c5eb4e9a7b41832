// Embedding, attention and output: the parts of a layer that need the sequence.
import Kernels
import Shard
import Syscall

extension Engine {
    /// stream = embedding of the tokens.
    func embed() {
        let (space, table) = (space, weights.embedding)
        forRows(space.batch.rows) { row in
            // The format and shape were checked with the shard, so widening cannot fail.
            if let weights = table.row(Int(space.batch.tokens[row])) {
                try? table.format.widen(row: weights, columns: table.cols, into: space.stream.row(row))
            }
        }
    }

    /// rotations = cos and sin of the rows' positions.
    func rotate() {
        let (space, config) = (space, config)
        forRows(space.batch.rows) { row in
            let cos = space.rotations.row(row)
            Kernels.ropeTable(
                frequencies: config.rotation.frequencies, scale: config.rotation.scale,
                position: space.batch.positions[row],
                cos: cos, sin: cos + config.headDim / 2)
        }
    }

    /// stream += o @ attention(norm(stream)).
    func attention(_ index: Int) {
        let layer = weights.layers[index]
        normalise(layer.attentionNorm)
        let (space, count) = (space, space.batch.rows)
        let (q, k) = (layer.q.pieces, layer.k.pieces)
        pool.run(pieces: q + k + layer.v.pieces) { [self] thread, pieces in
            while let piece = pieces.next(thread) {
                let (matrix, output, own) =
                    piece < q
                    ? (layer.q, space.q, piece)
                    : piece < q + k ? (layer.k, space.k, piece - q) : (layer.v, space.v, piece - q - k)
                multiply(matrix, rows: matrix.piece(own), space.normed, into: output, count: count)
            }
        }
        if config.queryKeyNorm == .acrossHeads, let norms = layer.queryKeyNorms {
            forRows(count) { [self] row in
                norm(space.q.row(row), norms.q, count: config.heads * config.headDim)
                norm(space.k.row(row), norms.k, count: config.kvHeads * config.headDim)
            }
        }
        let (heads, threads) = (config.kvHeads, pool.count)
        let together = space.batch.distinct
        if !together {
            // All rows' K and V are stored before any row of the same sequence attends.
            pool.run { [self] thread in
                for task in stride(from: thread, to: count * heads, by: threads) {
                    store(layer, index, row: task / heads, head: task % heads)
                }
            }
        }
        pool.run { [self] thread in
            for task in stride(from: thread, to: count * heads, by: threads) {
                let (row, head) = (task / heads, task % heads)
                if together { store(layer, index, row: row, head: head) }
                attend(index, row: row, head: head, thread: thread)
            }
        }
        if layer.o.format.isQuantized { forRows(count) { space.attended.prepare(row: $0) } }
        addProduct(layer.o, space.attended)
    }

    private func norm(_ heads: UnsafeMutablePointer<Float>, _ weight: UnsafePointer<Float>, count: Int) {
        Kernels.rmsNorm(heads, weight: weight, epsilon: config.rmsEpsilon, count: count, into: heads)
    }

    /// Bias, norm and rotation of one kv head's key and of the query heads that share it; K and V into the cache.
    private func store(_ layer: LayerWeights, _ index: Int, row: Int, head: Int) {
        let size = config.headDim
        let group = config.heads / config.kvHeads
        let query = space.q.row(row) + head * group * size
        let key = space.k.row(row) + head * size
        let value = space.v.row(row) + head * size
        if let biases = layer.biases {
            Kernels.add(biases.q + head * group * size, to: query, count: group * size)
            Kernels.add(biases.k + head * size, to: key, count: size)
            Kernels.add(biases.v + head * size, to: value, count: size)
        }
        if config.queryKeyNorm == .perHead, let norms = layer.queryKeyNorms {
            for member in 0..<group { norm(query + member * size, norms.q, count: size) }
            norm(key, norms.k, count: size)
        }
        let cos = space.rotations.row(row)
        let sin = cos + size / 2
        for member in 0..<group { Kernels.rope(query + member * size, headDim: size, cos: cos, sin: sin) }
        Kernels.rope(key, headDim: size, cos: cos, sin: sin)
        let place = space.batch.places[row]
        weights.kv.store(
            key: key, value: value, headDim: size, position: space.batch.positions[row],
            keys: place.keys(layer: index, head: head), values: place.values(layer: index, head: head))
    }

    /// The query heads of one kv head over all positions up to the row's own, as stored.
    private func attend(_ index: Int, row: Int, head: Int, thread: Int) {
        let size = config.headDim
        let group = config.heads / config.kvHeads
        let place = space.batch.places[row]
        weights.kv.attend(
            queries: space.q.row(row) + head * group * size, heads: group, headDim: size,
            positions: space.batch.positions[row] + 1, scale: 1 / Float(size).squareRoot(),
            keys: place.keys(layer: index, head: head), values: place.values(layer: index, head: head),
            scores: space.scratch[thread].base.assumingMemoryBound(to: Float.self),
            into: space.attended.row(row) + head * group * size)
    }

    /// logits = output @ norm(stream), for the rows that want them.
    func output() {
        let (space, config, matrix) = (space, config, weights.output)
        let wanted = space.batch.logitRows
        if wanted == 0 { return }
        let norm = weights.outputNorm
        forRows(space.batch.rows) { row in
            let place = space.batch.logitRow[row]
            if place < 0 { return }
            Kernels.rmsNorm(
                space.stream.row(row), weight: norm, epsilon: config.rmsEpsilon, count: config.hidden,
                into: space.last.row(place))
            space.last.prepare(row: place)
        }
        multiply(matrix, space.last, into: space.logits, count: wanted)
    }
}

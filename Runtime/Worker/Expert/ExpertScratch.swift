// Applying one expert to a block of rows, which share each weight while it is in the cache:
// y = down( silu(gate x) * (up x) ). A row's result does not depend on its block. The memory in between is reserved
// once per lane; a single row touches a few pages of it, and what a large batch touched is given back.
import Kernels
import Syscall

/// One lane's working memory for one model.
final class ExpertScratch {
    /// Rows computed together: bounds the scratch, and enough that weights are no longer what limits.
    static let blockRows = 32
    /// Bytes that stay after a batch: about what a single row of a large expert takes, as it may have thousands of neighbours.
    private static let kept = 16 << 10
    /// So much may stay between batches of a few rows, so that not each of them has pages made.
    private static let spared = 32 << 10

    private let memory: Mapping
    private let gates: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    private let ups: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    private let gateInputs: UnsafeMutablePointer<UnsafeRawPointer?>
    private let preparedInputs: UnsafeMutablePointer<UnsafeRawPointer?>
    /// Most rows whose pages stay. A single one's always do: the next call needs them.
    private let sparedRows: Int
    private var touchedRows = 0

    init(_ model: ExpertModel) throws(SyscallError) {
        let rows = Self.blockRows
        let stride = (model.intermediate + 15) / 16 * 16
        let formats = Set(model.experts.flatMap { [$0.gate.format, $0.up.format, $0.down.format] })
        // Columns are whole blocks of the format that reads them, but not of every other: rounded up to the largest.
        let quantised = formats.filter(\.isQuantized)
        let block = quantised.map(\.blockSize).max() ?? 1
        let widest = (max(model.width, model.intermediate) + block - 1) / block * block
        let bytes = quantised.compactMap { $0.preparedBytes(columns: widest) }.max() ?? 0
        precondition(bytes > 0 || quantised.isEmpty, "no size for \(widest) prepared columns")
        let preparedStride = (bytes + 63) / 64 * 64
        // A row's gate, up and prepared values lie side by side, so that one row touches few pages.
        let (tables, row) = (4 * rows * MemoryLayout<UnsafeRawPointer?>.size, 2 * stride * 4 + preparedStride)
        sparedRows = max(1, (Self.spared - tables) / row)
        memory = try Mapping(anonymous: tables + rows * row)
        var next = memory.base
        func table<T>(_ type: T.Type) -> UnsafeMutablePointer<T> {
            defer { next += rows * MemoryLayout<T>.size }
            return next.assumingMemoryBound(to: T.self)
        }
        gates = table(UnsafeMutablePointer<Float>?.self)
        ups = table(UnsafeMutablePointer<Float>?.self)
        gateInputs = table(UnsafeRawPointer?.self)
        preparedInputs = table(UnsafeRawPointer?.self)
        let first = next
        for index in 0..<rows {
            let start = first + index * row
            gates[index] = start.assumingMemoryBound(to: Float.self)
            ups[index] = (start + stride * 4).assumingMemoryBound(to: Float.self)
            gateInputs[index] = UnsafeRawPointer(start)
            preparedInputs[index] = UnsafeRawPointer(start + 2 * stride * 4)
        }
    }

    /// outputs[i] (width,) = expert(inputs[i] (width,)), for i in 0..<rows, at most `blockRows`.
    func apply(
        _ expert: FeedForwardWeights, inputs: UnsafePointer<UnsafeRawPointer?>,
        outputs: UnsafePointer<UnsafeMutablePointer<Float>?>, count rows: Int
    ) {
        precondition(rows <= Self.blockRows, "\(rows) rows at once")
        touchedRows = max(touchedRows, rows)
        let intermediate = expert.gate.rows
        let forGate = ready(expert.gate, inputs, rows)
        expert.gate.multiply(rows: 0..<intermediate, inputs: forGate, outputs: UnsafePointer(gates), count: rows)
        // Rows are made ready in the same way for all quantised formats.
        let forUp =
            expert.up.format.isQuantized == expert.gate.format.isQuantized ? forGate : ready(expert.up, inputs, rows)
        expert.up.multiply(rows: 0..<intermediate, inputs: forUp, outputs: UnsafePointer(ups), count: rows)
        for row in 0..<rows {
            guard let gate = gates[row], let up = ups[row] else { continue }
            Kernels.siluMultiply(gate: gate, up: up, count: intermediate, into: gate)
        }
        let forDown = ready(expert.down, UnsafePointer(gateInputs), rows)
        expert.down.multiply(rows: 0..<expert.down.rows, inputs: forDown, outputs: outputs, count: rows)
    }

    /// Gives back what a large batch touched.
    func trim() {
        if touchedRows > sparedRows { memory.discard(from: Self.kept) }
        touchedRows = 0
    }

    /// The rows as `matrix` reads them.
    private func ready(
        _ matrix: PackedMatrix, _ inputs: UnsafePointer<UnsafeRawPointer?>, _ rows: Int
    ) -> UnsafePointer<UnsafeRawPointer?> {
        guard matrix.format.isQuantized else { return inputs }
        for row in 0..<rows {
            guard let input = inputs[row], let output = preparedInputs[row] else { continue }
            matrix.format.prepare(
                input.assumingMemoryBound(to: Float.self), columns: matrix.columns,
                into: UnsafeMutableRawPointer(mutating: output))
        }
        return UnsafePointer(preparedInputs)
    }
}

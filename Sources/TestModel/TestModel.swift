// A Mixture-of-Experts model with random weights and chosen routing statistics, for trying out what has to do with
// memory: residency, prediction, placement. The file is made in pieces of a few megabytes, each from its place
// alone, by as many threads as there are cores; nothing of it stays in memory.
import Dispatch
import Kernels
import Synchronization

/// A test model to be written. Equal values give equal bytes.
public struct TestModel: Sendable {
    public let shape: ModelShape
    public let mixture: Mixture
    public let dial: RoutingDial
    public let seed: UInt64

    /// - Throws: `TestModelError(.badArguments)`
    public init(shape: ModelShape, mixture: Mixture, dial: RoutingDial, seed: UInt64) throws(TestModelError) {
        try shape.validate()
        try dial.validate()
        (self.shape, self.mixture, self.dial, self.seed) = (shape, mixture, dial, seed)
    }

    private var tensors: [TensorSpec] { TensorList.make(shape, mixture, dial, seed: seed) }

    private func header(_ tensors: [TensorSpec]) -> GGUFHeader {
        GGUFHeader(
            shape, mixture.base,
            title: "locum-testmodel \(shape.name), skew \(dial.skew), repetition \(dial.repetition), correlation "
                + "\(dial.correlation), seed \(seed)",
            tensors)
    }

    /// Bytes of the file.
    public var byteCount: Int { header(tensors).fileBytes }

    /// Makes the file; an ordinary file of that name is replaced at the end, in one step.
    /// - Parameters:
    ///   - threads: how many work; the bytes do not depend on it.
    ///   - isCancelled: asked every few megabytes; true ends the work and leaves nothing behind.
    /// - Returns: bytes written.
    /// - Throws: `TestModelError`
    @discardableResult
    public func write(
        to path: String, threads: Int, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(TestModelError) -> Int {
        let tensors = tensors
        let header = header(tensors)
        let pieces = Piece.cut(tensors, header.offsets)
        let file = try OutputFile(path: path, bytes: header.fileBytes, isCancelled: isCancelled)
        let next = Atomic<Int>(0)
        let failure = Mutex<TestModelError?>(nil)
        DispatchQueue.concurrentPerform(iterations: max(1, min(threads, 64))) { _ in
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: pieces.lazy.map(\.bytes).max() ?? 0, alignment: 64)
            defer { buffer.deallocate() }
            do throws(TestModelError) {
                while failure.withLock({ $0 == nil }) {
                    let index = next.add(1, ordering: .relaxed).oldValue
                    guard index < pieces.count, let base = buffer.baseAddress else { return }
                    if isCancelled() { throw .interrupted(path) }
                    let piece = pieces[index]
                    tensors[piece.tensor].fill(rows: piece.rows, into: base)
                    try file.write(UnsafeRawBufferPointer(rebasing: buffer[..<piece.bytes]), at: piece.offset)
                }
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let failure = failure.withLock({ $0 }) {
            file.remove()
            throw failure
        }
        do throws(TestModelError) {
            try header.bytes.span.bytes.withUnsafeBytes { bytes throws(TestModelError) in
                try file.write(bytes, at: 0)
            }
            try file.commit()
        } catch {
            file.remove()
            throw error
        }
        return header.fileBytes
    }
}

/// Rows of one tensor that are made at once.
private struct Piece {
    let tensor: Int
    let rows: Range<Int>
    /// Bytes from the start of the file.
    let offset: Int
    let bytes: Int

    private static let target = 4 << 20

    static func cut(_ tensors: [TensorSpec], _ offsets: [Int]) -> [Piece] {
        tensors.indices.flatMap { index in
            let (rowBytes, rows) = (tensors[index].rowBytes, tensors[index].rows)
            let step = max(1, target / max(1, rowBytes))
            return stride(from: 0, to: rows, by: step).map { first in
                let range = first..<min(rows, first + step)
                return Piece(
                    tensor: index, rows: range, offset: offsets[index] + first * rowBytes,
                    bytes: range.count * rowBytes)
            }
        }
    }
}

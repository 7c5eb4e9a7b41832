// How fast this host computes with weights of a format: the real kernels over more memory than its caches hold, on as
// many threads as a router has, because decoding is limited by how fast weights come from memory.
import CLinux
import Glibc
import Kernels
import Synchronization
import Syscall

/// Measures matrix-vector products.
enum ComputeProbe {
    private static let bytesPerThread = 96 << 20
    private static let columns = 2048
    /// Long enough for what else the host does to count: a plan speaks of the mean, not of the best moment.
    private static let longest: UInt64 = 800_000_000

    /// Bytes of weights per second, over all threads together.
    static func bytesPerSecond(_ format: WeightFormat, threads: Int) throws -> Double {
        Kernels.initialize()
        guard let tile = format.tileBytes(columns: columns) else { return 10e9 }
        let tiles = bytesPerThread / tile
        let rows = tiles * PackedMatrix.tileRows
        let sum = Mutex(0.0)
        let pending = Atomic<Int>(threads)
        for _ in 0..<threads {
            let memory = try Mapping(anonymous: tiles * tile + 4096)
            let input = try Mapping(anonymous: max(columns * 4, format.preparedBytes(columns: columns) ?? 0) + 64)
            let output = try Mapping(anonymous: rows * 4)
            try DetachedThread.start {
                memset(memory.base, 0x11, memory.count)
                guard
                    let matrix = PackedMatrix(
                        format: format, rows: rows, columns: columns, base: UnsafeRawPointer(memory.base),
                        byteCount: tiles * tile)
                else {
                    pending.subtract(1, ordering: .sequentiallyConsistent)
                    return
                }
                func pass() {
                    matrix.multiply(
                        input: UnsafeRawPointer(input.base), output: output.base.assumingMemoryBound(to: Float.self))
                }
                pass()
                let begun = locum_monotonic_ns()
                var (passes, spent) = (0, UInt64(0))
                while spent < longest {
                    pass()
                    passes += 1
                    spent = locum_monotonic_ns() - begun
                }
                sum.withLock { $0 += Double(passes * tiles * tile) / (Double(spent) / 1e9) }
                pending.subtract(1, ordering: .sequentiallyConsistent)
            }
        }
        while pending.load(ordering: .sequentiallyConsistent) > 0 { usleep(5000) }
        let measured = sum.withLock { $0 }
        return measured > 0 ? measured : 10e9
    }
}

// Keys and values of one sequence. Address space is reserved for all positions at once and charged page by
// page as positions are filled; it goes back to the kernel, which hands out zeroes only, with the sequence,
// so no sequence can ever read another's.
import Kernels
import Syscall

/// The keys and values of one sequence, over all layers and kv heads.
final class KVCache {
    /// Positions that fit.
    let capacity: Int
    /// Where they lie.
    let place: KVPlace
    private let memory: Mapping

    /// - Throws: `SyscallError` when not even the address space can be had.
    init(format: KVFormat, layers: Int, heads: Int, headDim: Int, capacity: Int) throws(SyscallError) {
        guard let sizes = Self.sizes(format, layers: layers, heads: heads, headDim: headDim, capacity: capacity) else {
            throw SyscallError(stage: "size keys and values of \(capacity) positions in \(layers) layers", errno: 22)
        }
        memory = try Mapping(anonymous: sizes.total)
        place = KVPlace(base: memory.base, keyBytes: sizes.keys, headBytes: sizes.head, layerBytes: sizes.head * heads)
        self.capacity = capacity
    }

    /// Bytes of a cache whose positions are all computed; `Int.max` when they cannot even be counted.
    static func bytes(format: KVFormat, layers: Int, heads: Int, headDim: Int, capacity: Int) -> Int {
        sizes(format, layers: layers, heads: heads, headDim: headDim, capacity: capacity)?.total ?? .max
    }

    private static func sizes(
        _ format: KVFormat, layers: Int, heads: Int, headDim: Int, capacity: Int
    ) -> (keys: Int, head: Int, total: Int)? {
        guard let keys = format.keyBytes(headDim: headDim, capacity: capacity),
            let values = format.valueBytes(headDim: headDim, capacity: capacity)
        else { return nil }
        let head = (keys + values + 63) / 64 * 64
        let (layer, over) = head.multipliedReportingOverflow(by: heads)
        let (total, beyond) = layer.multipliedReportingOverflow(by: layers)
        return over || beyond ? nil : (keys, head, total)
    }
}

/// Addresses within a cache.
struct KVPlace {
    let base: UnsafeMutableRawPointer
    let keyBytes: Int
    let headBytes: Int
    let layerBytes: Int

    func keys(layer: Int, head: Int) -> UnsafeMutableRawPointer { base + layer * layerBytes + head * headBytes }
    func values(layer: Int, head: Int) -> UnsafeMutableRawPointer { keys(layer: layer, head: head) + keyBytes }
}

// Keys and values of one sequence. Address space is reserved for all positions at once and charged page by
// page as positions are filled; it goes back to the kernel, which hands out zeroes only, with the sequence or with
// what is kept of it. A sequence takes over positions of another only where their tokens are the same.
import CLinux
import Glibc
import Kernels
import Syscall

/// The keys and values of one sequence, over all layers and kv heads.
final class KVCache {
    /// Positions that fit.
    let capacity: Int
    /// Where they lie.
    let place: KVPlace
    private let memory: Mapping
    private let format: KVFormat
    private let (layers, heads, headDim): (Int, Int, Int)

    /// - Throws: `SyscallError` when not even the address space can be had.
    init(format: KVFormat, layers: Int, heads: Int, headDim: Int, capacity: Int) throws(SyscallError) {
        (self.format, self.layers, self.heads, self.headDim) = (format, layers, heads, headDim)
        guard let sizes = Self.sizes(format, layers: layers, heads: heads, headDim: headDim, capacity: capacity) else {
            throw SyscallError(stage: "size keys and values of \(capacity) positions in \(layers) layers", errno: 22)
        }
        memory = try Mapping(anonymous: sizes.total)
        locum_expect_small_pages(memory.base, memory.count)
        place = KVPlace(base: memory.base, keyBytes: sizes.keys, headBytes: sizes.head, layerBytes: sizes.head * heads)
        self.capacity = capacity
    }

    /// Takes over the first `count` positions of another sequence of the same model.
    func copy(_ count: Int, from other: KVCache) {
        precondition(count <= min(capacity, other.capacity), "\(count) positions do not fit")
        let (keys, values) = lengths(count)
        for layer in 0..<layers {
            for head in 0..<heads {
                memcpy(place.keys(layer: layer, head: head), other.place.keys(layer: layer, head: head), keys)
                memcpy(place.values(layer: layer, head: head), other.place.values(layer: layer, head: head), values)
            }
        }
    }

    /// Bytes of one head's first `count` keys and values.
    private func lengths(_ count: Int) -> (keys: Int, values: Int) {
        (
            format.keyBytes(headDim: headDim, capacity: count) ?? 0,
            format.valueBytes(headDim: headDim, capacity: count) ?? 0
        )
    }

    /// Bytes that it takes, in whole pages, when `count` positions are computed; never too few.
    func bytes(computed count: Int) -> Int {
        let (keys, values) = lengths(count)
        // Neither begins at a page's begin.
        let page = Int(getpagesize())
        func pages(_ bytes: Int) -> Int { (bytes + page - 1) / page * page + page }
        return min(memory.count, layers * heads * (pages(keys) + pages(values)))
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

// The KV cache of one kv head: keys in tiles of 16 positions, values in plain rows. Attention always reads what
// is stored, so that a replay in other chunks gives the same bits.
import CKernels

/// What keys and values are stored as; the raw value is what a shard stores.
public enum KVFormat: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    case q8_0 = 2

    private var c: lk_kv { lk_kv(rawValue: rawValue) }

    /// "f32", "f16" or "q8_0".
    public var name: String { "\(self)" }

    /// The format of that name.
    public init?(name: String) {
        guard let format = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = format
    }

    /// Bytes of one kv head's keys for `capacity` positions, a multiple of 64; nil if that is no size.
    public func keyBytes(headDim: Int, capacity: Int) -> Int? {
        guard headDim > 0, capacity > 0 else { return nil }
        let bytes = lk_k_bytes(c, headDim, capacity)
        return bytes > 0 ? bytes : nil
    }

    /// Bytes of one kv head's values for `capacity` positions; nil if that is no size.
    public func valueBytes(headDim: Int, capacity: Int) -> Int? {
        guard headDim > 0, capacity > 0 else { return nil }
        let bytes = lk_v_bytes(c, headDim, capacity)
        return bytes > 0 ? bytes : nil
    }

    /// Stores one position's key and value (headDim,) of one kv head.
    public func store(
        key: UnsafePointer<Float>, value: UnsafePointer<Float>, headDim: Int, position: Int,
        keys: UnsafeMutableRawPointer, values: UnsafeMutableRawPointer
    ) {
        lk_kv_store(c, keys, values, headDim, position, key, value)
    }

    /// Floats of scratch that `attend` needs.
    public static func scoreFloats(positions: Int, heads: Int) -> Int { lk_scores_floats(positions, heads) }

    /// out (heads, headDim) = attention of the `heads` query heads (heads, headDim) that share this kv head,
    /// over its first `positions` positions. Caches are 32-byte aligned; a head's result does not depend on
    /// the others.
    public func attend(
        queries: UnsafePointer<Float>, heads: Int, headDim: Int, positions: Int, scale: Float,
        keys: UnsafeRawPointer, values: UnsafeRawPointer, scores: UnsafeMutablePointer<Float>,
        into out: UnsafeMutablePointer<Float>
    ) {
        lk_attention(c, keys, values, headDim, positions, queries, heads, scale, scores, out)
    }
}

// Tiles of the layout that shards of version 1 have, for rewriting them.
import CKernels

extension WeightFormat {
    /// Bytes of such a tile.
    public func olderTileBytes(columns: Int) -> Int? {
        guard columns > 0 else { return nil }
        let bytes = lk_older_tile_bytes(c, columns)
        return bytes > 0 ? bytes : nil
    }

    /// Makes a tile of `tileBytes(columns:)` of such a one.
    public func renew(tile older: UnsafeRawPointer, columns: Int, into tile: UnsafeMutableRawPointer) {
        lk_renew_tile(c, older, columns, tile)
    }
}

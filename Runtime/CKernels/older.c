// The layout of tiles in shards of version 1, so that `locum verify --repair` can rewrite them: all scales (and minima) of a
// tile in front, 32 bytes for each 32 or 256 columns or 64 with minima, padded to 64 bytes; then the blocks, those of a K
// format behind the scales of their 256 columns. What a block holds was as it is (tile.h).
#include "blocks.h"

#include <string.h>

static size_t older_head_bytes(lk_format format) { return lk_has_minima(format) ? 64 : 32; }

static size_t older_heads_bytes(lk_format format, size_t cols) {
    return (cols / 32 / lk_blocks_of(format) * older_head_bytes(format) + 63) / 64 * 64;
}

size_t lk_older_tile_bytes(lk_format format, size_t cols) {
    size_t now = lk_tile_bytes(format, cols);
    if (now == 0 || lk_block_columns(format) == 1) return now;
    size_t blocks = cols / 32, scales = blocks / lk_blocks_of(format) * lk_scales_bytes(format);
    return older_heads_bytes(format, cols) + scales + blocks * lk_block_bytes(format);
}

void lk_renew_tile(lk_format format, const void *older, size_t cols, void *tile) {
    size_t bytes = lk_tile_bytes(format, cols);
    if (lk_block_columns(format) == 1) {
        memcpy(tile, older, bytes);
        return;
    }
    memset(tile, 0, bytes);
    const uint8_t *head = older, *rest = head + older_heads_bytes(format, cols);
    uint8_t *out = tile;
    for (size_t b = 0; b < cols / 32; b++) {
        if (b % lk_blocks_of(format) == 0) {
            memcpy(out + lk_head_at(format, b), head, older_head_bytes(format));
            head += older_head_bytes(format);
            memcpy(out + lk_scales_at(format, b), rest, lk_scales_bytes(format));
            rest += lk_scales_bytes(format);
        }
        memcpy(out + lk_block_at(format, b), rest, lk_block_bytes(format));
        rest += lk_block_bytes(format);
    }
}

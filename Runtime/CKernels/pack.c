// Packing: 16 plain rows to one tile, laid out as the products read it (CKernels.h and tile.h have the picture). Done
// once at import; a worker maps the result.
#include "blocks.h"
#include "half.h"

/// Rows of a float format: for each column, that of each row.
static void pack_floats(const uint8_t *const rows[16], size_t cols, size_t size, uint8_t *tile) {
    for (size_t c = 0; c < cols; c++) {
        for (int r = 0; r < 16; r++, tile += size) {
            if (rows[r] == NULL) continue;
            if (size == 4) memcpy(tile, rows[r] + c * 4, 4);
            else memcpy(tile, rows[r] + c * 2, 2);
        }
    }
}

void lk_pack_words(lk_format format, const uint8_t *row, size_t cols, size_t lane, uint8_t *tile) {
    size_t head = lk_has_minima(format) ? 4 : 2, words = lk_block_bytes(format) / 64;
    for (size_t b = 0; b < cols / 32; b++, row += head + 4 * words) {
        for (size_t at = 0; at < head; at += 2) memcpy(tile + lk_head_at(format, b) + 16 * at + 2 * lane, row + at, 2);
        uint8_t *block = tile + lk_block_at(format, b) + 4 * lane;
        for (size_t w = 0; w < words; w++) memcpy(block + 64 * w, row + head + 4 * w, 4);
    }
}

/// 32 columns' numbers to a lane's words of a block.
static void pack_numbers(lk_format format, const uint8_t q[32], uint8_t *block) {
    // A byte of a word is a column; no number reaches its neighbour.
    uint32_t four[8], low = 0x0f0f0f0f, high[2] = {0, 0};
    memcpy(four, q, 32);
    uint8_t *nibbles = block + lk_high_bytes(format);
    for (size_t g = 0; g < 4; g++) {
        uint32_t both = (four[g] & low) | (four[g + 4] & low) << 4;
        memcpy(nibbles + 64 * g, &both, 4);
    }
    if (lk_weight_bits(format) == 5) {
        for (size_t g = 0; g < 8; g++) high[0] |= (four[g] >> 4 & low) << g;
    } else if (lk_weight_bits(format) == 6) {
        for (size_t g = 0; g < 8; g++) high[g / 4] |= (four[g] >> 4 & low) << g % 4 * 2;
    }
    for (size_t at = 0; at < lk_high_bytes(format); at += 64) memcpy(block + at, high + at / 64, 4);
}

/// The other formats, their blocks taken apart.
static void pack_blocks(lk_format format, const uint8_t *row, size_t cols, size_t lane, uint8_t *tile) {
    struct lk_block_w block;
    for (size_t b = 0; b < cols / 32; b++) {
        size_t part = b % lk_blocks_of(format);
        if (part == 0) {
            lk_read_block(format, row, &block);
            row += lk_plain_bytes(format);
            uint8_t *head = tile + lk_head_at(format, b) + 2 * lane;
            memcpy(head, &block.d, 2);
            if (lk_has_minima(format)) memcpy(head + 32, &block.m, 2);
        }
        if (lk_is_k(format)) {
            uint8_t *scales = tile + lk_scales_at(format, b) + lane;
            scales[0] = block.scale[part][0];
            scales[16] = block.scale[part][1];
        }
        pack_numbers(format, block.q + 32 * part, tile + lk_block_at(format, b) + 4 * lane);
    }
}

int lk_pack_tile(lk_format from, const void *const rows[16], size_t cols, lk_format to, void *tile, float *scratch) {
    size_t row_bytes = lk_row_bytes(to, cols), tile_bytes = lk_tile_bytes(to, cols);
    if (row_bytes == 0 || tile_bytes == 0) return LK_SHAPE;

    const uint8_t *plain[16];
    uint8_t *converted = (uint8_t *)(scratch + cols);
    for (int r = 0; r < 16; r++) {
        plain[r] = rows[r];
        if (from == to || rows[r] == NULL) continue;
        uint8_t *dst = converted + (size_t)r * row_bytes;
        int error = lk_convert_row(from, rows[r], cols, to, dst, scratch);
        if (error != LK_OK) return error;
        plain[r] = dst;
    }

    memset(tile, 0, tile_bytes);
    if (lk_block_columns(to) == 1) {
        pack_floats(plain, cols, row_bytes / cols, tile);
        return LK_OK;
    }
    int words = !lk_is_k(to) && lk_weight_bits(to) != 5;
    for (size_t r = 0; r < 16; r++) {
        if (plain[r] != NULL) (words ? lk_pack_words : pack_blocks)(to, plain[r], cols, r, tile);
    }
    return LK_OK;
}

// Packing: 16 plain rows to one tile, laid out as the products read it (CKernels.h has the picture). Done once
// at import; a worker maps the result.
#include "half.h"
#include "include/CKernels.h"

/// Takes `size` bytes of each row in turn, starting at `offset` and stepping by `stride`, `count` times.
static uint8_t *interleave(const uint8_t *const rows[16], size_t offset, size_t stride, size_t count, size_t size,
                           uint8_t *out) {
    for (size_t i = 0; i < count; i++, offset += stride) {
        for (int r = 0; r < 16; r++, out += size) {
            if (rows[r] == NULL) memset(out, 0, size);
            else if (size == 4) memcpy(out, rows[r] + offset, 4);
            else memcpy(out, rows[r] + offset, 2);
        }
    }
    return out;
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

    uint8_t *out = tile, *end = out + tile_bytes;
    if (lk_block_columns(to) == 1) {
        size_t size = row_bytes / cols;
        out = interleave(plain, 0, size, cols, size, out);
    } else {
        size_t blocks = cols / 32, block = row_bytes / blocks;
        out = interleave(plain, 0, block, blocks, 2, out);
        if (blocks % 2 != 0) {
            memset(out, 0, 32);
            out += 32;
        }
        for (size_t b = 0; b < blocks; b++) out = interleave(plain, b * block + 2, 4, (block - 2) / 4, 4, out);
    }
    memset(out, 0, (size_t)(end - out));
    return LK_OK;
}

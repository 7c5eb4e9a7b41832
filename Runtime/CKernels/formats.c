// Sizes. Shapes come from strangers' files by way of the importer, so every product is checked and 0 says
// "does not fit": no size is 0 otherwise, as an empty matrix is refused as well.
#include "blocks.h"
#include "ops.h"

static size_t product(size_t a, size_t b) {
    size_t result;
    return __builtin_mul_overflow(a, b, &result) ? 0 : result;
}

static size_t round_up(size_t n, size_t to) { return n > SIZE_MAX - to ? 0 : (n + to - 1) / to * to; }

size_t lk_block_columns(lk_format format) {
    return format <= LK_BF16 || format >= LK_FORMATS ? 1 : 32 * lk_blocks_of(format);
}

size_t lk_row_bytes(lk_format format, size_t cols) {
    size_t columns = lk_block_columns(format);
    return cols % columns != 0 ? 0 : product(cols / columns, lk_plain_bytes(format));
}

size_t lk_tile_bytes(lk_format format, size_t cols) {
    size_t row = lk_row_bytes(format, cols);
    if (row == 0 || row > SIZE_MAX / 64) return 0;
    if (lk_block_columns(format) == 1) return round_up(row * 16, 64);
    // Of an odd number of blocks the last run has one.
    size_t blocks = cols / 32, runs = blocks / lk_run_blocks(format) + blocks % lk_run_blocks(format);
    return runs * lk_lead_bytes(format) + blocks * lk_block_bytes(format);
}

size_t lk_packed_bytes(lk_format format, size_t rows, size_t cols) {
    size_t tiles = rows / 16 + (rows % 16 != 0);
    return product(tiles, lk_tile_bytes(format, cols));
}

size_t lk_prepared_bytes(lk_format format, size_t cols) {
    if (lk_row_bytes(format, cols) == 0) return 0;
    return lk_block_columns(format) == 1 ? product(cols, 4) : product(cols / 32, sizeof(struct lk_block_x));
}

size_t lk_pack_scratch_floats(size_t cols) { return product(cols, 17); }

static int holds(lk_kv kv, size_t head_dim) { return kv != LK_KV_Q8_0 || head_dim <= LK_MOST_HEAD_DIM; }

size_t lk_k_bytes(lk_kv kv, size_t head_dim, size_t capacity) {
    return holds(kv, head_dim) ? lk_packed_bytes(lk_kv_format(kv), capacity, head_dim) : 0;
}

size_t lk_v_bytes(lk_kv kv, size_t head_dim, size_t capacity) {
    return holds(kv, head_dim) ? product(capacity, lk_row_bytes(lk_kv_format(kv), head_dim)) : 0;
}

size_t lk_scores_floats(size_t positions, size_t heads) { return product(round_up(positions, 16), heads); }

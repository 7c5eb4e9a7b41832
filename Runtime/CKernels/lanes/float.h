// Products with F32, F16 and BF16 weights, for any width of vectors: each path includes this file after vector.h and
// after it has said how many tiles a single activation row takes at once (ALONE) and how many of a batch's rows go
// together (TOGETHER, 6 or 8).
//
// A lane is an output row, a tile's 16 rows are 16 / LANES vectors, each one chain of multiply-adds over the columns. A
// chain's steps depend on each other (4 cycles each), so several chains run side by side: the activation rows of a
// batch, or, for few of them, several tiles.
enum { PARTS = 16 / LANES };

INLINE vector load_weights(lk_format format, const uint8_t *p) {
    return format == LK_F32 ? load((const float *)p) : format == LK_F16 ? load_halves(p) : load_bf16(p);
}

/// `tiles` tiles times `n` activation rows; both constants where this is inlined, so the sums stay in registers.
INLINE void block(lk_format format, int tiles, int n, const uint8_t *w, size_t tile_bytes, size_t cols,
                  const void *const *x, float *const *y, size_t row, size_t row_end) {
    const size_t part_bytes = LANES * (format == LK_F32 ? 4 : 2);
    vector sum[8][8][PARTS];
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < n; i++)
            for (int p = 0; p < PARTS; p++) sum[t][i][p] = zeros();
    for (size_t c = 0; c < cols; c++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles; t++) {
            const uint8_t *at = w + (size_t)t * tile_bytes + c * PARTS * part_bytes;
            if (n > LK_FEW) lk_fetch_ahead(at);
            vector weights[PARTS];
            for (int p = 0; p < PARTS; p++) weights[p] = load_weights(format, at + (size_t)p * part_bytes);
#pragma clang loop unroll(full)
            for (int i = 0; i < n; i++) {
                vector value = broadcast((const float *)x[i] + c);
                for (int p = 0; p < PARTS; p++) sum[t][i][p] = multiply_add(weights[p], value, sum[t][i][p]);
            }
        }
    }
    for (int t = 0; t < tiles; t++) {
        size_t at = row + 16 * (size_t)t, valid = row_end - at < 16 ? row_end - at : 16;
        for (int i = 0; i < n; i++) {
            float all[16];
            for (int p = 0; p < PARTS; p++) store(all + LANES * p, sum[t][i][p]);
            __builtin_memcpy(y[i] + at, all, valid * 4);
        }
    }
}

INLINE void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                   const void *const *x, int n, float *const *y) {
    size_t tile_bytes = lk_tile_bytes(format, cols);
    const uint8_t *w = (const uint8_t *)packed + row_begin / 16 * tile_bytes;
    size_t row = row_begin;
#define BLOCK(tiles, n) block(format, tiles, n, w, tile_bytes, cols, x + i, y + i, row, row_end)
    const int i = 0;
    if (n == 1) {
        for (; row + 16 * (ALONE - 1) < row_end; row += 16 * ALONE, w += ALONE * tile_bytes) BLOCK(ALONE, 1);
    } else if (n == 2) {
        for (; row + 16 * (ALONE / 2 - 1) < row_end; row += 8 * ALONE, w += ALONE / 2 * tile_bytes) BLOCK(ALONE / 2, 2);
    }
    for (; row < row_end; row += 16, w += tile_bytes) {
        for (int i = 0; i < n;) {
            int left = n - i, some = left <= TOGETHER ? left : left < 2 * TOGETHER ? (left + 1) / 2 : TOGETHER;
            switch (some) {
            case 1: BLOCK(1, 1); break;
            case 2: BLOCK(1, 2); break;
            case 3: BLOCK(1, 3); break;
            case 4: BLOCK(1, 4); break;
            case 5: BLOCK(1, 5); break;
            case 6: BLOCK(1, 6); break;
#if TOGETHER > 6
            case 7: BLOCK(1, 7); break;
            default: BLOCK(1, 8);
#endif
            }
            i += some;
        }
    }
#undef BLOCK
}

// Products with Q8_0 and Q4_0 weights by VNNI, for any width of vectors: each path that has it includes this file after
// it has said what its vectors are (`ints` and `floats` of LANES lanes, and what is done with them), and how many vectors
// of weights share an activation (STRIPS: of one tile or of several) and how many of a batch's rows go together
// (TOGETHER, at most 6).
//
// vpdpbusd multiplies unsigned bytes with signed ones and adds four products to a 32-bit lane without saturating, so what
// it sums is exact. Q4_0's nibbles are unsigned, Q8_0's weights become so by adding 128; what that adds to a block's
// sum, 8 or 128 times the sum of its activations, is taken off beforehand.
enum { PARTS = 16 / LANES };

/// Where strip s begins: a tile's parts lie beside each other, tiles `tile_bytes` apart.
INLINE size_t strip(int s, size_t tile_bytes, size_t lane_bytes) {
    return (size_t)(s / PARTS) * tile_bytes + (size_t)(s % PARTS) * LANES * lane_bytes;
}

/// 4 columns of an activation block in every lane.
INLINE ints four(const struct lk_block_x *x, int group) {
    int32_t columns;
    __builtin_memcpy(&columns, x->q + 4 * group, 4);
    return spread(columns);
}

/// The sums inside one block of `strips` strips with n activation blocks.
INLINE void inside(lk_format format, int strips, int n, const uint8_t *quants, size_t tile_bytes,
                   const struct lk_block_x *const x[], ints sums[STRIPS][TOGETHER]) {
    for (int i = 0; i < n; i++) {
        ints offset = spread(-(format == LK_Q8_0 ? 128 : 8) * x[i]->sum);
        for (int s = 0; s < strips; s++) sums[s][i] = offset;
    }
#pragma clang loop unroll(full)
    for (int g = 0; g < (format == LK_Q8_0 ? 8 : 4); g++) {
        ints first[STRIPS], second[STRIPS];
        for (int s = 0; s < strips; s++) {
            const uint8_t *at = quants + strip(s, tile_bytes, 4) + 64 * g;
            if (s % PARTS == 0) lk_fetch_ahead(at);
            ints weights = load_weights(at);
            if (format == LK_Q8_0) {
                first[s] = add_128(weights);
            } else {
                first[s] = low_nibbles(weights);
                second[s] = high_nibbles(weights);
            }
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < n; i++) {
            for (int s = 0; s < strips; s++) sums[s][i] = add_products(sums[s][i], first[s], four(x[i], g));
            if (format == LK_Q8_0) continue;
            for (int s = 0; s < strips; s++) sums[s][i] = add_products(sums[s][i], second[s], four(x[i], g + 4));
        }
    }
}

/// `strips` strips times n activation rows, both constants where this is inlined.
INLINE void block(lk_format format, int strips, int n, const uint8_t *w, size_t tile_bytes, size_t cols,
                  const void *const *prepared, float *const *y, size_t row, size_t row_end) {
    const size_t blocks = cols / 32, block_bytes = format == LK_Q8_0 ? 512 : 256;
    const uint8_t *scales = w, *quants = w + (blocks + 1) / 2 * 64;
    floats sum[STRIPS][TOGETHER];
    for (int s = 0; s < strips; s++)
        for (int i = 0; i < n; i++) sum[s][i] = zeros();
    for (size_t b = 0; b < blocks; b++, scales += 32, quants += block_bytes) {
        const struct lk_block_x *x[TOGETHER];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
        ints sums[STRIPS][TOGETHER];
        inside(format, strips, n, quants, tile_bytes, x, sums);
        for (int s = 0; s < strips; s++) {
            floats scale = load_scales(scales + strip(s, tile_bytes, 2));
            for (int i = 0; i < n; i++) sum[s][i] = multiply_add(scale, x[i]->d, sums[s][i], sum[s][i]);
        }
    }
    for (int s = 0; s < strips; s += PARTS) {
        size_t at = row + 16 * (size_t)(s / PARTS), valid = row_end - at < 16 ? row_end - at : 16;
        for (int i = 0; i < n; i++) {
            float all[16];
            for (int p = 0; p < PARTS; p++) store(all + LANES * p, sum[s + p][i]);
            __builtin_memcpy(y[i] + at, all, valid * 4);
        }
    }
}

INLINE void batch(lk_format format, int strips, const uint8_t *w, size_t tile_bytes, size_t cols, const void *const *x,
                  int n, float *const *y, size_t row, size_t row_end) {
#define BLOCK(n) block(format, strips, n, w, tile_bytes, cols, x, y, row, row_end)
    for (int some; n != 0; n -= some, x += some, y += some) {
        some = n <= TOGETHER ? n : n < 2 * TOGETHER ? (n + 1) / 2 : TOGETHER;
        switch (some) {
        case 1: BLOCK(1); break;
        case 2: BLOCK(2); break;
        case 3: BLOCK(3); break;
#if TOGETHER > 3
        case 4: BLOCK(4); break;
        case 5: BLOCK(5); break;
        default: BLOCK(6);
#endif
        }
    }
#undef BLOCK
}

INLINE void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                   const void *const *x, int n, float *const *y) {
    enum { TILES = STRIPS / PARTS };
    size_t tile_bytes = lk_tile_bytes(format, cols);
    const uint8_t *w = (const uint8_t *)packed + row_begin / 16 * tile_bytes;
    size_t row = row_begin;
    for (; row + 16 * (TILES - 1) < row_end; row += 16 * TILES, w += TILES * tile_bytes) {
        batch(format, STRIPS, w, tile_bytes, cols, x, n, y, row, row_end);
    }
    if (row < row_end) batch(format, PARTS, w, tile_bytes, cols, x, n, y, row, row_end);
}

#define MATMUL(name, format)                                                                                     \
    void name(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,                    \
              const void *const *prepared, int n, float *const *y) {                                             \
        (void)rows;                                                                                              \
        matmul(format, packed, cols, row_begin, row_end, prepared, n, y);                                        \
    }

// Products with quantised weights by an instruction that multiplies bytes and adds four products to a 32-bit lane without
// saturating (vpdpbusd, sdot), so that what it sums is exact; for any width of vectors. Each path that has one includes
// this file after vector.h and after it has said how many vectors of weights share an activation (STRIPS: of one tile or
// of several), how many of a batch's rows go together (TOGETHER, 3 or 6), and the instruction's name (`add_products`).
//
// Weights are stored as unsigned numbers but for Q8_0's, which vpdpbusd wants unsigned as well (`factors`). What such an
// offset adds to a block's sum, the offset times the sum of its activations, is taken off beforehand.
#include "quants.h"

enum { PARTS = 16 / LANES };

/// What a number is more than its weight, as add_products sees it.
INLINE int32_t offset_of(lk_format format) { return format == LK_Q8_0 ? FACTORS_OFFSET : lk_offset(format); }

/// Where strip s begins: a tile's parts lie beside each other, tiles `tile_bytes` apart.
INLINE size_t strip(int s, size_t tile_bytes, size_t lane_bytes) {
    return (size_t)(s / PARTS) * tile_bytes + (size_t)(s % PARTS) * LANES * lane_bytes;
}

/// Adds the products of 4 columns of `strips` strips with those of n activation blocks.
INLINE void add_four(lk_format format, int strips, int n, const uint8_t *block, size_t tile_bytes,
                     const struct lk_block_x *const x[], int group, ints sums[STRIPS][TOGETHER]) {
    ints weights[STRIPS];
    for (int s = 0; s < strips; s++) {
        const uint8_t *at = block + strip(s, tile_bytes, 4);
        // A tile's block has a line of 64 bytes for each of its bits, so never more than the 8 groups.
        if (s % PARTS == 0 && group < lk_weight_bits(format)) lk_fetch_ahead(at + 64 * group);
        weights[s] = weights_of(format, at, group);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < n; i++) {
        for (int s = 0; s < strips; s++) sums[s][i] = add_products(sums[s][i], weights[s], four(x[i], group));
    }
}

/// The sums inside one block of `strips` strips with n activation blocks.
INLINE void inside(lk_format format, int strips, int n, const uint8_t *block, const uint8_t *scales, size_t tile_bytes,
                   const struct lk_block_x *const x[], vector results[STRIPS][TOGETHER]) {
    ints sums[STRIPS][TOGETHER];
    if (format != LK_Q6_K) {
        for (int i = 0; i < n; i++) {
            ints offset = spread(-offset_of(format) * x[i]->sum);
            for (int s = 0; s < strips; s++) sums[s][i] = offset;
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < 4; g++) {
            add_four(format, strips, n, block, tile_bytes, x, format == LK_Q8_0 ? 2 * g : g, sums);
            add_four(format, strips, n, block, tile_bytes, x, format == LK_Q8_0 ? 2 * g + 1 : g + 4, sums);
        }
        for (int s = 0; s < strips; s++)
            for (int i = 0; i < n; i++) results[s][i] = to_floats(sums[s][i]);
        return;
    }
    // Each half times its scale is exact in f32, as it is below 2^16 and its scale within 128: the fused sum of the two
    // is rounded once, as their exact integer would be.
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < n; i++) {
            ints offset = spread(-offset_of(format) * x[i]->half[half]);
            for (int s = 0; s < strips; s++) sums[s][i] = offset;
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < 4; g++) add_four(format, strips, n, block, tile_bytes, x, 4 * half + g, sums);
        for (int s = 0; s < strips; s++) {
            vector scale = load_signed_bytes(scales + strip(s, tile_bytes, 1) + 16 * half);
            for (int i = 0; i < n; i++) {
                vector sum = to_floats(sums[s][i]);
                results[s][i] = half == 0 ? multiply(scale, sum) : multiply_add(scale, sum, results[s][i]);
            }
        }
    }
}

/// `strips` strips times n activation rows, both constants where this is inlined.
INLINE void block(lk_format format, int strips, int n, const uint8_t *w, size_t tile_bytes, size_t cols,
                  const void *const *prepared, float *const *y, size_t row, size_t row_end) {
    vector sum[STRIPS][TOGETHER];
    for (int s = 0; s < strips; s++)
        for (int i = 0; i < n; i++) sum[s][i] = zeros();
    for (size_t b = 0; b < cols / 32; b++) {
        const uint8_t *head = w + lk_head_at(format, b), *scales = w + lk_scales_at(format, cols, b);
        const uint8_t *quants = w + lk_block_at(format, cols, b);
        for (int s = 0; lk_is_k(format) && s < strips; s += PARTS) lk_fetch_ahead(scales + strip(s, tile_bytes, 1));
        const struct lk_block_x *x[TOGETHER];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
        vector sums[STRIPS][TOGETHER];
        inside(format, strips, n, quants, scales, tile_bytes, x, sums);
        for (int s = 0; s < strips; s++) {
            const uint8_t *at = head + strip(s, tile_bytes, 2), *below = scales + strip(s, tile_bytes, 1);
            vector scale = scale_of(format, at, below);
            for (int i = 0; i < n; i++) {
                sum[s][i] = multiply_add(multiply(scale, broadcast(&x[i]->d)), sums[s][i], sum[s][i]);
            }
            if (!lk_has_minima(format)) continue;
            vector minimum = minimum_of(format, at, below);
            for (int i = 0; i < n; i++) sum[s][i] = multiply_add(minimum, broadcast(&x[i]->total), sum[s][i]);
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

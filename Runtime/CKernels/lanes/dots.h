// Products with quantised weights by an instruction that multiplies bytes and adds four products to a 32-bit lane without
// saturating (vpdpbusd, sdot), so that what it sums is exact; for any width of vectors. Each path that has one includes
// this file after vector.h and after it has said how many of a batch's rows go together (TOGETHER) and the instruction's
// name (`add_products`). A tile's 16 rows are PARTS vectors.
//
// Weights are stored as unsigned numbers but for Q8_0's, which vpdpbusd wants unsigned as well (`factors`). What such an
// offset adds to a block's sum, the offset times the sum of its activations, is taken off beforehand.
#include "quants.h"

enum { PARTS = 16 / LANES };

/// What a number is more than its weight, as add_products sees it.
INLINE int32_t offset_of(lk_format format) { return format == LK_Q8_0 ? FACTORS_OFFSET : lk_offset(format); }

/// Adds the products of 4 columns of a block with those of n activation blocks.
INLINE void add_four(lk_format format, int n, const uint8_t *block, const struct lk_block_x *const x[], int group,
                     ints sums[PARTS][TOGETHER]) {
    ints weights[PARTS];
    // A block has a line of 64 bytes for each of its bits, so never more than the 8 groups.
    if (n > LK_FEW && group < lk_weight_bits(format)) lk_fetch_ahead(block + 64 * group);
    for (int p = 0; p < PARTS; p++) weights[p] = weights_of(format, block + p * LANES * 4, group);
#pragma clang loop unroll(full)
    for (int i = 0; i < n; i++) {
        for (int p = 0; p < PARTS; p++) sums[p][i] = add_products(sums[p][i], weights[p], four(x[i], group));
    }
}

/// The sums inside one block with n activation blocks.
INLINE void inside(lk_format format, int n, const uint8_t *block, const uint8_t *scales,
                   const struct lk_block_x *const x[], vector results[PARTS][TOGETHER]) {
    ints sums[PARTS][TOGETHER];
    if (format != LK_Q6_K) {
        for (int i = 0; i < n; i++) {
            ints offset = spread(-offset_of(format) * x[i]->sum);
            for (int p = 0; p < PARTS; p++) sums[p][i] = offset;
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < 4; g++) {
            add_four(format, n, block, x, format == LK_Q8_0 ? 2 * g : g, sums);
            add_four(format, n, block, x, format == LK_Q8_0 ? 2 * g + 1 : g + 4, sums);
        }
        for (int p = 0; p < PARTS; p++)
            for (int i = 0; i < n; i++) results[p][i] = to_floats(sums[p][i]);
        return;
    }
    // Each half times its scale is exact in f32, as it is below 2^16 and its scale within 128: the fused sum of the two
    // is rounded once, as their exact integer would be.
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < n; i++) {
            ints offset = spread(-offset_of(format) * x[i]->half[half]);
            for (int p = 0; p < PARTS; p++) sums[p][i] = offset;
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < 4; g++) add_four(format, n, block, x, 4 * half + g, sums);
        for (int p = 0; p < PARTS; p++) {
            vector scale = load_signed_bytes(scales + p * LANES + 16 * half);
            for (int i = 0; i < n; i++) {
                vector sum = to_floats(sums[p][i]);
                results[p][i] = half == 0 ? multiply(scale, sum) : multiply_add(scale, sum, results[p][i]);
            }
        }
    }
}

/// A tile times n activation rows, n a constant where this is inlined.
INLINE void tile_times(lk_format format, int n, const uint8_t *tile, size_t cols, const void *const *prepared,
                       float *const *y, size_t row, size_t row_end) {
    vector sum[PARTS][TOGETHER];
    for (int p = 0; p < PARTS; p++)
        for (int i = 0; i < n; i++) sum[p][i] = zeros();
    for (size_t b = 0; b < cols / 32; b++) {
        const uint8_t *head = tile + lk_head_at(format, b), *scales = tile + lk_scales_at(format, b);
        if (n > LK_FEW && b % lk_run_blocks(format) == 0) lk_fetch_ahead(head);
        if (n > LK_FEW && lk_is_k(format) && b % 2 == 0) lk_fetch_ahead(scales);
        const struct lk_block_x *x[TOGETHER];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
        vector sums[PARTS][TOGETHER];
        inside(format, n, tile + lk_block_at(format, b), scales, x, sums);
        for (int p = 0; p < PARTS; p++) {
            const uint8_t *at = head + p * LANES * 2, *below = scales + p * LANES;
            vector scale = scale_of(format, at, below);
            for (int i = 0; i < n; i++) {
                sum[p][i] = multiply_add(multiply(scale, broadcast(&x[i]->d)), sums[p][i], sum[p][i]);
            }
            if (!lk_has_minima(format)) continue;
            vector minimum = minimum_of(format, at, below);
            for (int i = 0; i < n; i++) sum[p][i] = multiply_add(minimum, broadcast(&x[i]->total), sum[p][i]);
        }
    }
    size_t valid = row_end - row < 16 ? row_end - row : 16;
    for (int i = 0; i < n; i++) {
        float all[16];
        for (int p = 0; p < PARTS; p++) store(all + LANES * p, sum[p][i]);
        __builtin_memcpy(y[i] + row, all, valid * 4);
    }
}

/// A tile times all rows of a batch: behind the first few it comes from the cache.
INLINE void batch(lk_format format, const uint8_t *tile, size_t cols, const void *const *x, int n, float *const *y,
                  size_t row, size_t row_end) {
#define TILE(n) tile_times(format, n, tile, cols, x, y, row, row_end)
    for (int some; n != 0; n -= some, x += some, y += some) {
        some = n <= TOGETHER ? n : n < 2 * TOGETHER ? (n + 1) / 2 : TOGETHER;
        switch (some) {
        case 1: TILE(1); break;
        case 2: TILE(2); break;
        case 3: TILE(3); break;
#if TOGETHER > 3
        case 4: TILE(4); break;
        case 5: TILE(5); break;
        case 6: TILE(6); break;
#endif
#if TOGETHER > 6
        case 7: TILE(7); break;
        case 8: TILE(8); break;
#endif
        }
    }
#undef TILE
}

INLINE void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                   const void *const *x, int n, float *const *y) {
    size_t tile_bytes = lk_tile_bytes(format, cols);
    const uint8_t *tile = (const uint8_t *)packed + row_begin / 16 * tile_bytes;
    for (size_t row = row_begin; row < row_end; row += 16, tile += tile_bytes) {
        batch(format, tile, cols, x, n, y, row, row_end);
    }
}

// Products with quantised weights: 8-bit integers multiplied in pairs, summed exactly inside a block, then one
// multiply-add per block and output. A 32-bit lane is an output row and holds 4 columns of it at a time. maddubs
// saturates at 16 bits, so the operands are arranged never to get there: |w| <= 128 times |x| <= 127, two products, is
// 32,512; numbers of 4, 5 and 6 bits leave room for 8, 4 and 2 such pairs in a lane: 30,480, 31,496 and 32,004.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVX2, apply_to = function)
#define LANES 8
#include "vector.h"

#include "../lanes/quants.h"

INLINE ints widen_pairs(ints pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

/// One block of one half tile (8 rows) with n activation blocks.
INLINE void inside_q8_0(const uint8_t *block, int n, const struct lk_block_x *const x[], ints sums[]) {
    for (int i = 0; i < n; i++) sums[i] = _mm256_setzero_si256();
#pragma clang loop unroll(full)
    for (int g = 0; g < 8; g++) {
        ints weight = load_ints(block + 64 * g), magnitude = _mm256_abs_epi8(weight);
#pragma clang loop unroll(full)
        for (int i = 0; i < n; i++) {
            ints pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(x[i], g), weight));
            sums[i] = _mm256_add_epi32(sums[i], widen_pairs(pairs));
        }
    }
}

/// Adds the products of `count` groups of numbers from `first` on, times `scales`: in every 16 bits of a lane what its sum
/// is multiplied with, the scale of a half in Q6_K, else 1.
INLINE void add_numbers(lk_format format, const uint8_t *block, int first, int count, ints scales, int n,
                        const struct lk_block_x *const x[], ints sums[]) {
    const int room = 8 >> (lk_weight_bits(format) - 4);
#pragma clang loop unroll(full)
    for (int some = first; some < first + count; some += room) {
        ints pairs[4];
        for (int i = 0; i < n; i++) pairs[i] = _mm256_setzero_si256();
#pragma clang loop unroll(full)
        for (int g = some; g < some + room; g++) {
            ints weights = weights_of(format, block, g);
            for (int i = 0; i < n; i++) {
                pairs[i] = _mm256_add_epi16(pairs[i], _mm256_maddubs_epi16(weights, four(x[i], g)));
            }
        }
        for (int i = 0; i < n; i++) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs[i], scales));
    }
}

INLINE void inside_numbers(lk_format format, const uint8_t *block, int n, const struct lk_block_x *const x[],
                           ints sums[]) {
    for (int i = 0; i < n; i++) sums[i] = spread(-lk_offset(format) * x[i]->sum);
    add_numbers(format, block, 0, 8, _mm256_set1_epi16(1), n, x, sums);
}

/// The two halves' sums, each times its scale.
INLINE void inside_q6_k(const uint8_t *block, const uint8_t *scales, int n, const struct lk_block_x *const x[],
                        ints sums[]) {
    ints first = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)scales));
    ints second = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(scales + 16)));
    ints both = _mm256_blend_epi16(first, _mm256_slli_epi32(second, 16), 0xaa);
    for (int i = 0; i < n; i++) {
        int32_t halves;
        __builtin_memcpy(&halves, x[i]->half, 4);
        sums[i] = _mm256_slli_epi32(_mm256_madd_epi16(both, spread(halves)), 5);
        sums[i] = _mm256_sub_epi32(_mm256_setzero_si256(), sums[i]);
    }
    first = _mm256_blend_epi16(first, _mm256_slli_epi32(first, 16), 0xaa);
    second = _mm256_blend_epi16(second, _mm256_slli_epi32(second, 16), 0xaa);
    add_numbers(LK_Q6_K, block, 0, 4, first, n, x, sums);
    add_numbers(LK_Q6_K, block, 4, 4, second, n, x, sums);
}

/// One tile times n activation rows, n a constant where this is inlined.
INLINE void tile_times(lk_format format, int n, const uint8_t *tile, size_t cols, const void *const *prepared,
                       float *const *y, size_t row, size_t row_end) {
    vector sum[2][4];
    for (int i = 0; i < n; i++) sum[0][i] = sum[1][i] = zeros();
    for (size_t b = 0; b < cols / 32; b++) {
        const uint8_t *head = tile + lk_head_at(format, b), *scales = tile + lk_scales_at(format, b);
        const uint8_t *block = tile + lk_block_at(format, b);
        if (n > LK_FEW) {
            if (b % lk_run_blocks(format) == 0) lk_fetch_ahead(head);
            if (lk_is_k(format) && b % 2 == 0) lk_fetch_ahead(scales);
            for (size_t at = 0; at < lk_block_bytes(format); at += 64) lk_fetch_ahead(block + at);
        }
        const struct lk_block_x *x[4];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
#pragma clang loop unroll(full)
        for (int half = 0; half < 2; half++, head += 16, scales += 8, block += 32) {
            ints inside[4];
            if (format == LK_Q8_0) inside_q8_0(block, n, x, inside);
            else if (format == LK_Q6_K) inside_q6_k(block, scales, n, x, inside);
            else inside_numbers(format, block, n, x, inside);
            vector scale = scale_of(format, head, scales);
            for (int i = 0; i < n; i++) {
                vector d = multiply(scale, broadcast(&x[i]->d));
                sum[half][i] = multiply_add(d, to_floats(inside[i]), sum[half][i]);
            }
            if (!lk_has_minima(format)) continue;
            vector minimum = minimum_of(format, head, scales);
            for (int i = 0; i < n; i++) sum[half][i] = multiply_add(minimum, broadcast(&x[i]->total), sum[half][i]);
        }
    }
    size_t valid = row_end - row;
    for (int i = 0; i < n; i++) {
        float all[16];
        store(all, sum[0][i]);
        store(all + 8, sum[1][i]);
        __builtin_memcpy(y[i] + row, all, (valid < 16 ? valid : 16) * 4);
    }
}

INLINE void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                   const void *const *x, int n, float *const *y) {
    size_t tile_bytes = lk_tile_bytes(format, cols);
    const uint8_t *tile = (const uint8_t *)packed + row_begin / 16 * tile_bytes;
    for (size_t row = row_begin; row < row_end; row += 16, tile += tile_bytes) {
        for (int i = 0; i < n;) {
            switch (n - i) {
            case 1: tile_times(format, 1, tile, cols, x + i, y + i, row, row_end); i += 1; break;
            case 2: tile_times(format, 2, tile, cols, x + i, y + i, row, row_end); i += 2; break;
            case 3: tile_times(format, 3, tile, cols, x + i, y + i, row, row_end); i += 3; break;
            default: tile_times(format, 4, tile, cols, x + i, y + i, row, row_end); i += 4;
            }
        }
    }
}

LK_QUANTISED(, lk_avx2)

#pragma clang attribute pop
#endif

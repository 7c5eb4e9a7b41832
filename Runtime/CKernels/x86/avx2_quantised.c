// Products with Q8_0 and Q4_0 weights: 8-bit integers multiplied in pairs, summed exactly inside a block, then
// one multiply-add per block and output. A 32-bit lane is an output row and holds 4 columns of it at a time.
// maddubs saturates at 16 bits, so the operands are arranged never to get there: |w| <= 128 times |x| <= 127,
// two products, is 32,512; and nibbles (0...15) leave room for all 8 products of a block's lane: 30,480.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVX2, apply_to = function)
#define INLINE static inline __attribute__((always_inline))

/// 4 columns of an activation block in every lane.
INLINE __m256i four(const struct lk_block_x *x, int group) {
    int32_t columns;
    __builtin_memcpy(&columns, x->q + 4 * group, 4);
    return _mm256_set1_epi32(columns);
}

INLINE __m256i widen_pairs(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

/// One block of one half tile (8 rows) with n activation blocks.
INLINE void inside_q8_0(const uint8_t *w, int n, const struct lk_block_x *const x[], __m256i inside[]) {
    for (int i = 0; i < n; i++) inside[i] = _mm256_setzero_si256();
#pragma clang loop unroll(full)
    for (int g = 0; g < 8; g++) {
        __m256i weight = _mm256_loadu_si256((const __m256i *)(w + 64 * g)), magnitude = _mm256_abs_epi8(weight);
#pragma clang loop unroll(full)
        for (int i = 0; i < n; i++) {
            __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(x[i], g), weight));
            inside[i] = _mm256_add_epi32(inside[i], widen_pairs(pairs));
        }
    }
}

INLINE void inside_q4_0(const uint8_t *w, int n, const struct lk_block_x *const x[], __m256i inside[]) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int i = 0; i < n; i++) inside[i] = _mm256_setzero_si256();
#pragma clang loop unroll(full)
    for (int g = 0; g < 4; g++) {
        __m256i both = _mm256_loadu_si256((const __m256i *)(w + 64 * g));
        __m256i first = _mm256_and_si256(both, low), second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#pragma clang loop unroll(full)
        for (int i = 0; i < n; i++) {
            inside[i] = _mm256_add_epi16(inside[i], _mm256_maddubs_epi16(first, four(x[i], g)));
            inside[i] = _mm256_add_epi16(inside[i], _mm256_maddubs_epi16(second, four(x[i], g + 4)));
        }
    }
    for (int i = 0; i < n; i++) {
        inside[i] = _mm256_sub_epi32(widen_pairs(inside[i]), _mm256_set1_epi32(8 * x[i]->sum));
    }
}

/// One tile times n activation rows, n a constant where this is inlined.
INLINE void tile_times(lk_format format, int n, const uint8_t *tile, size_t cols, const void *const *prepared,
                       float *const *y, size_t row, size_t row_end) {
    const size_t blocks = cols / 32, block_bytes = format == LK_Q8_0 ? 512 : 256;
    const uint8_t *scales = tile, *quants = tile + (blocks + 1) / 2 * 64;
    __m256 sum[2][4];
    for (int i = 0; i < n; i++) sum[0][i] = sum[1][i] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, scales += 32, quants += block_bytes) {
        for (size_t at = 0; at < block_bytes; at += 64) lk_fetch_ahead(quants + at);
        const struct lk_block_x *x[4];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
#pragma clang loop unroll(full)
        for (int half = 0; half < 2; half++) {
            __m256i inside[4];
            if (format == LK_Q8_0) inside_q8_0(quants + 32 * half, n, x, inside);
            else inside_q4_0(quants + 32 * half, n, x, inside);
            __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(scales + 16 * half)));
            for (int i = 0; i < n; i++) {
                __m256 d = _mm256_mul_ps(scale, _mm256_set1_ps(x[i]->d));
                sum[half][i] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(inside[i]), sum[half][i]);
            }
        }
    }
    size_t valid = row_end - row;
    for (int i = 0; i < n; i++) {
        float all[16];
        _mm256_storeu_ps(all, sum[0][i]);
        _mm256_storeu_ps(all + 8, sum[1][i]);
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

void lk_avx2_q8_0(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                  const void *const *prepared, int n, float *const *y) {
    (void)rows;
    matmul(LK_Q8_0, packed, cols, row_begin, row_end, prepared, n, y);
}

void lk_avx2_q4_0(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                  const void *const *prepared, int n, float *const *y) {
    (void)rows;
    matmul(LK_Q4_0, packed, cols, row_begin, row_end, prepared, n, y);
}

#pragma clang attribute pop
#endif

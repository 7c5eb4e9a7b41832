// Products with Q8_0 and Q4_0 weights: vpdpbusd multiplies unsigned bytes with signed ones and adds four products to a
// 32-bit lane without saturating, so what it sums is exact. Q4_0's nibbles are unsigned, Q8_0's weights become so by
// adding 128; what that adds to a block's sum, 8 or 128 times the sum of its activations, is taken off beforehand.
#if defined(__x86_64__)
#include "avx512.h"

#pragma clang attribute push(LK_AVX512, apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { TILES = 2, TOGETHER = 6 };

/// 4 columns of an activation block in every lane.
INLINE __m512i four(const struct lk_block_x *x, int group) {
    int32_t columns;
    __builtin_memcpy(&columns, x->q + 4 * group, 4);
    return _mm512_set1_epi32(columns);
}

/// The sums inside one block of `tiles` tiles with n activation blocks.
INLINE void inside(lk_format format, int tiles, int n, const uint8_t *quants, size_t tile_bytes,
                   const struct lk_block_x *const x[], __m512i sums[TILES][TOGETHER]) {
    for (int i = 0; i < n; i++) {
        __m512i offset = _mm512_slli_epi32(_mm512_set1_epi32(x[i]->sum), format == LK_Q8_0 ? 7 : 3);
        for (int t = 0; t < tiles; t++) sums[t][i] = _mm512_sub_epi32(_mm512_setzero_si512(), offset);
    }
    const __m512i low = _mm512_set1_epi8(15), top = _mm512_set1_epi8(-128);
#pragma clang loop unroll(full)
    for (int g = 0; g < (format == LK_Q8_0 ? 8 : 4); g++) {
        __m512i first[TILES], second[TILES];
        for (int t = 0; t < tiles; t++) {
            const uint8_t *at = quants + (size_t)t * tile_bytes + 64 * g;
            lk_fetch_ahead(at);
            __m512i weights = _mm512_loadu_si512(at);
            if (format == LK_Q8_0) {
                first[t] = _mm512_xor_si512(weights, top);
            } else {
                first[t] = _mm512_and_si512(weights, low);
                second[t] = _mm512_and_si512(_mm512_srli_epi16(weights, 4), low);
            }
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < n; i++) {
            for (int t = 0; t < tiles; t++) sums[t][i] = _mm512_dpbusd_epi32(sums[t][i], first[t], four(x[i], g));
            if (format == LK_Q8_0) continue;
            for (int t = 0; t < tiles; t++) sums[t][i] = _mm512_dpbusd_epi32(sums[t][i], second[t], four(x[i], g + 4));
        }
    }
}

/// `tiles` tiles times n activation rows, both constants where this is inlined.
INLINE void block(lk_format format, int tiles, int n, const uint8_t *w, size_t tile_bytes, size_t cols,
                  const void *const *prepared, float *const *y, size_t row, size_t row_end) {
    const size_t blocks = cols / 32, block_bytes = format == LK_Q8_0 ? 512 : 256;
    const uint8_t *scales = w, *quants = w + (blocks + 1) / 2 * 64;
    __m512 sum[TILES][TOGETHER];
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < n; i++) sum[t][i] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++, scales += 32, quants += block_bytes) {
        const struct lk_block_x *x[TOGETHER];
        for (int i = 0; i < n; i++) x[i] = (const struct lk_block_x *)prepared[i] + b;
        __m512i sums[TILES][TOGETHER];
        inside(format, tiles, n, quants, tile_bytes, x, sums);
        for (int t = 0; t < tiles; t++) {
            __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(scales + (size_t)t * tile_bytes)));
            for (int i = 0; i < n; i++) {
                __m512 d = _mm512_mul_ps(scale, _mm512_set1_ps(x[i]->d));
                sum[t][i] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(sums[t][i]), sum[t][i]);
            }
        }
    }
    for (int t = 0; t < tiles; t++) {
        size_t at = row + 16 * (size_t)t, valid = row_end - at;
        __mmask16 lanes = valid < 16 ? (__mmask16)((1u << valid) - 1) : 0xffff;
        for (int i = 0; i < n; i++) _mm512_mask_storeu_ps(y[i] + at, lanes, sum[t][i]);
    }
}

INLINE void batch(lk_format format, int tiles, const uint8_t *w, size_t tile_bytes, size_t cols, const void *const *x,
                  int n, float *const *y, size_t row, size_t row_end) {
#define BLOCK(n) block(format, tiles, n, w, tile_bytes, cols, x, y, row, row_end)
    for (int some; n != 0; n -= some, x += some, y += some) {
        some = n <= TOGETHER ? n : n < 2 * TOGETHER ? (n + 1) / 2 : TOGETHER;
        switch (some) {
        case 1: BLOCK(1); break;
        case 2: BLOCK(2); break;
        case 3: BLOCK(3); break;
        case 4: BLOCK(4); break;
        case 5: BLOCK(5); break;
        default: BLOCK(6);
        }
    }
#undef BLOCK
}

INLINE void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                   const void *const *x, int n, float *const *y) {
    size_t tile_bytes = lk_tile_bytes(format, cols);
    const uint8_t *w = (const uint8_t *)packed + row_begin / 16 * tile_bytes;
    size_t row = row_begin;
    for (; row + 16 * (TILES - 1) < row_end; row += 16 * TILES, w += TILES * tile_bytes) {
        batch(format, TILES, w, tile_bytes, cols, x, n, y, row, row_end);
    }
    if (row < row_end) batch(format, 1, w, tile_bytes, cols, x, n, y, row, row_end);
}

void lk_avx512_q8_0(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                    const void *const *prepared, int n, float *const *y) {
    (void)rows;
    matmul(LK_Q8_0, packed, cols, row_begin, row_end, prepared, n, y);
}

void lk_avx512_q4_0(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                    const void *const *prepared, int n, float *const *y) {
    (void)rows;
    matmul(LK_Q4_0, packed, cols, row_begin, row_end, prepared, n, y);
}

#pragma clang attribute pop
#endif

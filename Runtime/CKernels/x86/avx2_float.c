// Products with F32, F16 and BF16 weights. A lane is an output row: 16 rows are two vectors of 8, each one
// chain of multiply-adds over the columns. A chain's steps depend on each other (4 cycles each), so several
// chains run side by side: the activation rows of a batch, or, for few of them, several tiles at once.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

INLINE __m256 widen8(lk_format format, const uint8_t *p) {
    if (format == LK_F32) return _mm256_loadu_ps((const float *)p);
    __m128i halves = _mm_loadu_si128((const __m128i *)p);
    if (format == LK_F16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/// 16 outputs to y, of which `valid` exist.
INLINE void store16(float *y, size_t valid, __m256 low, __m256 high) {
    if (valid >= 16) {
        _mm256_storeu_ps(y, low);
        _mm256_storeu_ps(y + 8, high);
        return;
    }
    float all[16];
    _mm256_storeu_ps(all, low);
    _mm256_storeu_ps(all + 8, high);
    for (size_t i = 0; i < valid; i++) y[i] = all[i];
}

/// `tiles` tiles times `n` activation rows; both constants where this is inlined, so the sums stay in registers.
INLINE void block(lk_format format, int tiles, int n, const uint8_t *w, size_t tile_bytes, size_t cols,
                  const void *const *x, float *const *y, size_t row, size_t row_end) {
    const size_t half = format == LK_F32 ? 32 : 16;
    __m256 sum[4][6][2];
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < n; i++) sum[t][i][0] = sum[t][i][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < cols; c++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles; t++) {
            const uint8_t *p = w + (size_t)t * tile_bytes + c * 2 * half;
            lk_fetch_ahead(p);
            __m256 low = widen8(format, p), high = widen8(format, p + half);
#pragma clang loop unroll(full)
            for (int i = 0; i < n; i++) {
                __m256 value = _mm256_broadcast_ss((const float *)x[i] + c);
                sum[t][i][0] = _mm256_fmadd_ps(low, value, sum[t][i][0]);
                sum[t][i][1] = _mm256_fmadd_ps(high, value, sum[t][i][1]);
            }
        }
    }
    for (int t = 0; t < tiles; t++) {
        size_t at = row + 16 * (size_t)t;
        for (int i = 0; i < n; i++) store16(y[i] + at, row_end - at, sum[t][i][0], sum[t][i][1]);
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
        for (; row + 48 < row_end; row += 64, w += 4 * tile_bytes) BLOCK(4, 1);
    } else if (n == 2) {
        for (; row + 16 < row_end; row += 32, w += 2 * tile_bytes) BLOCK(2, 2);
    }
    for (; row < row_end; row += 16, w += tile_bytes) {
        for (int i = 0; i < n;) {
            switch (n - i) {
            case 1: BLOCK(1, 1); i += 1; break;
            case 2: BLOCK(1, 2); i += 2; break;
            case 3: BLOCK(1, 3); i += 3; break;
            case 4: BLOCK(1, 4); i += 4; break;
            case 5: BLOCK(1, 5); i += 5; break;
            case 7:
            case 8: BLOCK(1, 4); i += 4; break;
            default: BLOCK(1, 6); i += 6;
            }
        }
    }
#undef BLOCK
}

#define MATMUL(name, format)                                                                                     \
    void name(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,                    \
              const void *const *prepared, int n, float *const *y) {                                             \
        (void)rows;                                                                                              \
        matmul(format, packed, cols, row_begin, row_end, prepared, n, y);                                        \
    }
MATMUL(lk_avx2_f32, LK_F32)
MATMUL(lk_avx2_f16, LK_F16)
MATMUL(lk_avx2_bf16, LK_BF16)

#pragma clang attribute pop
#endif

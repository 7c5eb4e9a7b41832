// Products with F32, F16 and BF16 weights: float.h on two vectors of 8.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVX2, apply_to = function)
#define INLINE static inline __attribute__((always_inline))
#define LANES 8
#define ALONE 4
#define TOGETHER 6

typedef __m256 vector;

INLINE vector zeros(void) { return _mm256_setzero_ps(); }
INLINE vector broadcast(const float *p) { return _mm256_set1_ps(*p); }
INLINE vector multiply_add(vector a, vector b, vector c) { return _mm256_fmadd_ps(a, b, c); }
INLINE void store(float *p, vector v) { _mm256_storeu_ps(p, v); }

INLINE vector load_weights(lk_format format, const uint8_t *p) {
    if (format == LK_F32) return _mm256_loadu_ps((const float *)p);
    __m128i halves = _mm_loadu_si128((const __m128i *)p);
    if (format == LK_F16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

#include "float.h"

MATMUL(lk_avx2_f32, LK_F32)
MATMUL(lk_avx2_f16, LK_F16)
MATMUL(lk_avx2_bf16, LK_BF16)

#pragma clang attribute pop
#endif

// Products with F32, F16 and BF16 weights: float.h on one vector of 16.
#if defined(__x86_64__)
#include "avx512.h"

#pragma clang attribute push(LK_AVX512, apply_to = function)
#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define ALONE 8
#define TOGETHER 8

typedef __m512 vector;

INLINE vector zeros(void) { return _mm512_setzero_ps(); }
INLINE vector broadcast(const float *p) { return _mm512_set1_ps(*p); }
INLINE vector multiply_add(vector a, vector b, vector c) { return _mm512_fmadd_ps(a, b, c); }
INLINE void store(float *p, vector v) { _mm512_storeu_ps(p, v); }

INLINE vector load_weights(lk_format format, const uint8_t *p) {
    if (format == LK_F32) return _mm512_loadu_ps((const float *)p);
    __m256i halves = _mm256_loadu_si256((const __m256i *)p);
    if (format == LK_F16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

#include "float.h"

MATMUL(lk_avx512_f32, LK_F32)
MATMUL(lk_avx512_f16, LK_F16)
MATMUL(lk_avx512_bf16, LK_BF16)

#pragma clang attribute pop
#endif

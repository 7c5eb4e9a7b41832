// Products with Q8_0 and Q4_0 weights: vnni.h on vectors of 16, two tiles at once.
#if defined(__x86_64__)
#include "avx512.h"

#pragma clang attribute push(LK_AVX512, apply_to = function)
#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define STRIPS 2
#define TOGETHER 6

typedef __m512i ints;
typedef __m512 floats;

INLINE ints spread(int32_t value) { return _mm512_set1_epi32(value); }
INLINE ints load_weights(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE ints add_128(ints weights) { return _mm512_xor_si512(weights, _mm512_set1_epi8(-128)); }
INLINE ints low_nibbles(ints both) { return _mm512_and_si512(both, _mm512_set1_epi8(15)); }
INLINE ints high_nibbles(ints both) { return low_nibbles(_mm512_srli_epi16(both, 4)); }
INLINE ints add_products(ints sum, ints a, ints b) { return _mm512_dpbusd_epi32(sum, a, b); }
INLINE floats zeros(void) { return _mm512_setzero_ps(); }
INLINE floats load_scales(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE floats multiply_add(floats scale, float d, ints inside, floats sum) {
    return _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_set1_ps(d)), _mm512_cvtepi32_ps(inside), sum);
}
INLINE void store(float *p, floats sum) { _mm512_storeu_ps(p, sum); }

#include "vnni.h"

MATMUL(lk_avx512_q8_0, LK_Q8_0)
MATMUL(lk_avx512_q4_0, LK_Q4_0)

#pragma clang attribute pop
#endif

// Products with Q8_0 and Q4_0 weights: vnni.h on two vectors of 8, for processors without AVX-512.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVXVNNI, apply_to = function)
#define INLINE static inline __attribute__((always_inline))
#define LANES 8
#define STRIPS 2
#define TOGETHER 3

typedef __m256i ints;
typedef __m256 floats;

INLINE ints spread(int32_t value) { return _mm256_set1_epi32(value); }
INLINE ints load_weights(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE ints add_128(ints weights) { return _mm256_xor_si256(weights, _mm256_set1_epi8(-128)); }
INLINE ints low_nibbles(ints both) { return _mm256_and_si256(both, _mm256_set1_epi8(15)); }
INLINE ints high_nibbles(ints both) { return low_nibbles(_mm256_srli_epi16(both, 4)); }
INLINE ints add_products(ints sum, ints a, ints b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
INLINE floats zeros(void) { return _mm256_setzero_ps(); }
INLINE floats load_scales(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE floats multiply_add(floats scale, float d, ints inside, floats sum) {
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(d)), _mm256_cvtepi32_ps(inside), sum);
}
INLINE void store(float *p, floats sum) { _mm256_storeu_ps(p, sum); }

#include "vnni.h"

MATMUL(lk_avxvnni_q8_0, LK_Q8_0)
MATMUL(lk_avxvnni_q4_0, LK_Q4_0)

#pragma clang attribute pop
#endif

// A vector of LANES floats or 32-bit integers, 8 or 16, and what is done with it, under the including file's target options.
#define INLINE static inline __attribute__((always_inline))

/// What `factors` adds to Q8_0's weights, so that they are unsigned.
enum { FACTORS_OFFSET = 128 };

#if LANES == 16
typedef __m512 vector;

INLINE vector zeros(void) { return _mm512_setzero_ps(); }
INLINE vector broadcast(const float *p) { return _mm512_set1_ps(*p); }
INLINE vector multiply_add(vector a, vector b, vector c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vector load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, vector v) { _mm512_storeu_ps(p, v); }
INLINE vector load_halves(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void store_halves(uint8_t *p, vector v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vector load_bf16(const uint8_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

typedef __m512i ints;

INLINE ints spread(int32_t value) { return _mm512_set1_epi32(value); }
INLINE ints load_ints(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE ints factors(ints weights) { return _mm512_xor_si512(weights, _mm512_set1_epi8(-128)); }
INLINE ints low_nibbles(ints both) { return _mm512_and_si512(both, _mm512_set1_epi8(15)); }
INLINE ints high_nibbles(ints both) { return low_nibbles(_mm512_srli_epi16(both, 4)); }
INLINE vector to_floats(ints v) { return _mm512_cvtepi32_ps(v); }
INLINE vector multiply(vector a, vector b) { return _mm512_mul_ps(a, b); }
/// Where the mask has ones, the bits of `source` moved right (left if negative), beside those of `low`.
INLINE ints with_bits(ints low, ints source, int right, char mask) {
    ints moved = right > 0 ? _mm512_srli_epi32(source, (unsigned)right) : _mm512_slli_epi32(source, (unsigned)-right);
    return _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8(mask)));
}
INLINE vector load_bytes(const uint8_t *p) {
    return to_floats(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE vector load_signed_bytes(const uint8_t *p) {
    return to_floats(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
#else
typedef __m256 vector;

INLINE vector zeros(void) { return _mm256_setzero_ps(); }
INLINE vector broadcast(const float *p) { return _mm256_set1_ps(*p); }
INLINE vector multiply_add(vector a, vector b, vector c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vector load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, vector v) { _mm256_storeu_ps(p, v); }
INLINE vector load_halves(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE void store_halves(uint8_t *p, vector v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vector load_bf16(const uint8_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

typedef __m256i ints;

INLINE ints spread(int32_t value) { return _mm256_set1_epi32(value); }
INLINE ints load_ints(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE ints factors(ints weights) { return _mm256_xor_si256(weights, _mm256_set1_epi8(-128)); }
INLINE ints low_nibbles(ints both) { return _mm256_and_si256(both, _mm256_set1_epi8(15)); }
INLINE ints high_nibbles(ints both) { return low_nibbles(_mm256_srli_epi16(both, 4)); }
INLINE vector to_floats(ints v) { return _mm256_cvtepi32_ps(v); }
INLINE vector multiply(vector a, vector b) { return _mm256_mul_ps(a, b); }
/// Where the mask has ones, the bits of `source` moved right (left if negative), beside those of `low`.
INLINE ints with_bits(ints low, ints source, int right, char mask) {
    ints moved = right > 0 ? _mm256_srli_epi32(source, right) : _mm256_slli_epi32(source, -right);
    return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(mask)));
}
INLINE vector load_bytes(const uint8_t *p) {
    return to_floats(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE vector load_signed_bytes(const uint8_t *p) {
    return to_floats(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
#endif

// The AVX-512 table, and its row operations: those of rows.h compiled for AVX-512, those of halves.h, and
// `quantize` by hand.
#if defined(__x86_64__)
#include "avx512.h"

#include <math.h>

#pragma clang attribute push(LK_AVX512, apply_to = function)
#include "../rows.h"
#define LANES 16
#include "vector.h"

/// 16 values times `inverse`, roundf (half away from zero) by hand.
INLINE __m512i whole(__m512 values, float inverse) {
    const __m512 minus = _mm512_set1_ps(-0.0f);
    __m512 scaled = _mm512_mul_ps(values, _mm512_set1_ps(inverse));
    __m512 cut = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_andnot_ps(minus, _mm512_sub_ps(scaled, cut));
    __m512 one = _mm512_or_ps(_mm512_and_ps(scaled, minus), _mm512_set1_ps(1.0f));
    __mmask16 up = _mm512_cmp_ps_mask(rest, _mm512_set1_ps(0.5f), _CMP_GE_OQ);
    return _mm512_cvttps_epi32(_mm512_mask_add_ps(cut, up, cut, one));
}

/// As the scalar path's: largest magnitude by its bits.
static void quantize(const float *x, size_t cols, struct lk_block_x *out) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (; cols != 0; cols -= 32, x += 32, out++) {
        __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
        __m512i largest = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude),
                                           _mm512_and_si512(_mm512_castps_si512(high), magnitude));
        float d = lk_float(_mm512_reduce_max_epu32(largest)) / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0;
        uint16_t stored = lk_to_f16(d);
        int flat = (stored & 0x7c00) == 0x7c00 || inverse == INFINITY;
        out->d = (stored & 0x7c00) == 0x7c00 ? NAN : lk_from_f16(stored);
        __m512i a = flat ? _mm512_setzero_si512() : whole(low, inverse);
        __m512i b = flat ? _mm512_setzero_si512() : whole(high, inverse);
        _mm_storeu_si128((__m128i *)out->q, _mm512_cvtepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(out->q + 16), _mm512_cvtepi32_epi8(b));
        out->half[0] = (int16_t)_mm512_reduce_add_epi32(a);
        out->half[1] = (int16_t)_mm512_reduce_add_epi32(b);
        out->sum = out->half[0] + out->half[1];
        out->total = out->d * (float)out->sum;
    }
}

#include "../lanes/halves.h"
#include "../quantise.h"

#pragma clang attribute pop

const struct lk_ops lk_ops_avx512 = LK_OPS("avx512", lk_avx512, lk_avx512);
#endif

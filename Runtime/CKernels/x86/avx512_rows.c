// The AVX-512 table, and its row operations: those of rows.h compiled for AVX-512, and by hand those that need a
// conversion instruction or more registers than the compiler would use.
#if defined(__x86_64__)
#include "avx512.h"

#include <math.h>

#pragma clang attribute push(LK_AVX512, apply_to = function)
#include "../rows.h"
#define INLINE static inline __attribute__((always_inline))

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
        out->sum = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
}

static void widen_f16(const void *src, size_t n, float *out) {
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + 2 * i))));
    }
    for (; i < n; i++) out[i] = lk_from_f16(lk_load16(p + 2 * i));
}

static void narrow_f16(const float *x, size_t n, void *out) {
    uint8_t *p = out;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i halves = _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256((__m256i *)(p + 2 * i), halves);
    }
    for (; i < n; i++) {
        uint16_t h = lk_to_f16(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

INLINE __m512 values(int halves, const void *v, size_t at) {
    if (!halves) return _mm512_loadu_ps((const float *)v + at);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)v + at)));
}

/// `count` vectors of 16 elements from element d on, over all positions.
INLINE void weigh_some(int halves, int count, const void *v, size_t head_dim, size_t positions, const float *weight,
                       float *out, size_t d) {
    __m512 sum[8];
    for (int i = 0; i < count; i++) sum[i] = _mm512_setzero_ps();
    for (size_t p = 0; p < positions; p++) {
        __m512 factor = _mm512_set1_ps(weight[p]);
#pragma clang loop unroll(full)
        for (int i = 0; i < count; i++) {
            sum[i] = _mm512_fmadd_ps(factor, values(halves, v, p * head_dim + d + 16 * (size_t)i), sum[i]);
        }
    }
    for (int i = 0; i < count; i++) _mm512_storeu_ps(out + d + 16 * i, sum[i]);
}

INLINE void weigh(int halves, const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    size_t d = 0;
    for (; d + 128 <= head_dim; d += 128) weigh_some(halves, 8, v, head_dim, positions, weight, out, d);
    for (; d + 64 <= head_dim; d += 64) weigh_some(halves, 4, v, head_dim, positions, weight, out, d);
    for (; d + 16 <= head_dim; d += 16) weigh_some(halves, 1, v, head_dim, positions, weight, out, d);
    for (; d < head_dim; d++) {
        out[d] = 0;
        for (size_t p = 0; p < positions; p++) {
            size_t at = p * head_dim + d;
            float value = halves ? lk_from_f16(((const uint16_t *)v)[at]) : ((const float *)v)[at];
            out[d] = __builtin_fmaf(weight[p], value, out[d]);
        }
    }
}

static void weigh_f32(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    weigh(0, v, head_dim, positions, weight, out);
}

static void weigh_f16(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    weigh(1, v, head_dim, positions, weight, out);
}

#pragma clang attribute pop

const struct lk_ops lk_ops_avx512 = {
    .name = "avx512",
    .matmul = {lk_avx512_f32, lk_avx512_f16, lk_avx512_bf16, lk_avx512_q8_0, lk_avx512_q4_0},
    .quantize = quantize,
    .widen_f16 = widen_f16,
    .narrow_f16 = narrow_f16,
    .weigh = {weigh_f32, weigh_f16},
    .axpy = axpy,
    .rmsnorm = rmsnorm,
    .softmax = softmax,
    .log_sum_exp = log_sum_exp,
    .silu_mul = silu_mul,
};
#endif

// The tables of AVX2 and AVX-VNNI, and their row operations: those of rows.h compiled for AVX2, and by hand those that need a
// conversion instruction or more registers than the compiler would use.
#if defined(__x86_64__)
#include "avx2.h"

#include <math.h>

#pragma clang attribute push(LK_AVX2, apply_to = function)
#include "../rows.h"
#define INLINE static inline __attribute__((always_inline))

/// As the scalar path's: largest magnitude by its bits, and roundf (half away from zero) by hand.
static void quantize(const float *x, size_t cols, struct lk_block_x *out) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (; cols != 0; cols -= 32, x += 32, out++) {
        __m256 part[4];
        __m256i largest = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            part[i] = _mm256_loadu_ps(x + 8 * i);
            largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(part[i]), magnitude));
        }
        __m128i most = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
        most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4e));
        most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xb1));
        float d = lk_float((uint32_t)_mm_cvtsi128_si32(most)) / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0;
        uint16_t stored = lk_to_f16(d);
        int flat = (stored & 0x7c00) == 0x7c00 || inverse == INFINITY;
        out->d = (stored & 0x7c00) == 0x7c00 ? NAN : lk_from_f16(stored);

        __m256i sum = _mm256_setzero_si256(), whole[4];
        for (int i = 0; i < 4; i++) {
            __m256 scaled = _mm256_mul_ps(part[i], _mm256_set1_ps(inverse));
            __m256 cut = _mm256_round_ps(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
            __m256 sign = _mm256_and_ps(scaled, _mm256_set1_ps(-0.0f));
            __m256 rest = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(scaled, cut));
            __m256 up = _mm256_and_ps(_mm256_cmp_ps(rest, _mm256_set1_ps(0.5f), _CMP_GE_OQ), _mm256_set1_ps(1.0f));
            whole[i] = _mm256_cvttps_epi32(_mm256_add_ps(cut, _mm256_or_ps(up, sign)));
            if (flat) whole[i] = _mm256_setzero_si256();
            sum = _mm256_add_epi32(sum, whole[i]);
        }
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                           _mm256_packs_epi32(whole[2], whole[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)out->q, bytes);
        __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0x4e));
        out->sum = _mm_cvtsi128_si32(_mm_add_epi32(total, _mm_shuffle_epi32(total, 0xb1)));
    }
}

static void widen_f16(const void *src, size_t n, float *out) {
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
    }
    for (; i < n; i++) out[i] = lk_from_f16(lk_load16(p + 2 * i));
}

static void narrow_f16(const float *x, size_t n, void *out) {
    uint8_t *p = out;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(p + 2 * i), halves);
    }
    for (; i < n; i++) {
        uint16_t h = lk_to_f16(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

INLINE __m256 value8(int halves, const void *v, size_t at) {
    if (!halves) return _mm256_loadu_ps((const float *)v + at);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)v + at)));
}

/// `count` vectors of 8 elements from element d on, over all positions.
INLINE void weigh_some(int halves, int count, const void *v, size_t head_dim, size_t positions, const float *weight,
                       float *out, size_t d) {
    __m256 sum[8];
    for (int i = 0; i < count; i++) sum[i] = _mm256_setzero_ps();
    for (size_t p = 0; p < positions; p++) {
        __m256 factor = _mm256_broadcast_ss(weight + p);
#pragma clang loop unroll(full)
        for (int i = 0; i < count; i++) {
            sum[i] = _mm256_fmadd_ps(factor, value8(halves, v, p * head_dim + d + 8 * (size_t)i), sum[i]);
        }
    }
    for (int i = 0; i < count; i++) _mm256_storeu_ps(out + d + 8 * i, sum[i]);
}

INLINE void weigh(int halves, const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64) weigh_some(halves, 8, v, head_dim, positions, weight, out, d);
    for (; d + 8 <= head_dim; d += 8) weigh_some(halves, 1, v, head_dim, positions, weight, out, d);
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

#define OPS(isa, q8_0, q4_0)                                                                                     \
    {.name = isa,                                                                                                \
     .matmul = {lk_avx2_f32, lk_avx2_f16, lk_avx2_bf16, q8_0, q4_0},                                             \
     .quantize = quantize,                                                                                       \
     .widen_f16 = widen_f16,                                                                                     \
     .narrow_f16 = narrow_f16,                                                                                   \
     .weigh = {weigh_f32, weigh_f16},                                                                            \
     .axpy = axpy,                                                                                               \
     .rmsnorm = rmsnorm,                                                                                         \
     .softmax = softmax,                                                                                         \
     .log_sum_exp = log_sum_exp,                                                                                 \
     .silu_mul = silu_mul}

const struct lk_ops lk_ops_avx2 = OPS("avx2", lk_avx2_q8_0, lk_avx2_q4_0);
/// Processors with AVX-VNNI differ in the quantised products alone.
const struct lk_ops lk_ops_avxvnni = OPS("avxvnni", lk_avxvnni_q8_0, lk_avxvnni_q4_0);
#endif

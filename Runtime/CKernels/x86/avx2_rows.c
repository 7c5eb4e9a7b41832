// The tables of AVX2 and AVX-VNNI, and their row operations: those of rows.h compiled for AVX2, those of halves.h, and
// `quantize` by hand.
#if defined(__x86_64__)
#include "avx2.h"

#include <math.h>

#pragma clang attribute push(LK_AVX2, apply_to = function)
#include "../rows.h"
#define LANES 8
#include "vector.h"

INLINE int32_t total(__m256i v) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

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

        __m256i whole[4];
        for (int i = 0; i < 4; i++) {
            __m256 scaled = _mm256_mul_ps(part[i], _mm256_set1_ps(inverse));
            __m256 cut = _mm256_round_ps(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
            __m256 sign = _mm256_and_ps(scaled, _mm256_set1_ps(-0.0f));
            __m256 rest = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(scaled, cut));
            __m256 up = _mm256_and_ps(_mm256_cmp_ps(rest, _mm256_set1_ps(0.5f), _CMP_GE_OQ), _mm256_set1_ps(1.0f));
            whole[i] = _mm256_cvttps_epi32(_mm256_add_ps(cut, _mm256_or_ps(up, sign)));
            if (flat) whole[i] = _mm256_setzero_si256();
        }
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                           _mm256_packs_epi32(whole[2], whole[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)out->q, bytes);
        for (int h = 0; h < 2; h++) out->half[h] = (int16_t)total(_mm256_add_epi32(whole[2 * h], whole[2 * h + 1]));
        out->sum = out->half[0] + out->half[1];
        out->total = out->d * (float)out->sum;
    }
}

#include "../lanes/halves.h"
#include "../quantise.h"

#pragma clang attribute pop

const struct lk_ops lk_ops_avx2 = LK_OPS("avx2", lk_avx2, lk_avx2);
/// Processors with AVX-VNNI differ in the quantised products alone.
const struct lk_ops lk_ops_avxvnni = LK_OPS("avxvnni", lk_avx2, lk_avxvnni);
#endif

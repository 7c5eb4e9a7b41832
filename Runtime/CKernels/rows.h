// Row operations, once for all instruction sets: this file is compiled under each one's target options and the
// compiler makes vectors of it. That is sound because the order of arithmetic is written out (16 lanes, then a
// fixed tree) and no option lets the compiler change it: it may only do the lanes at once.
#ifndef LOCUM_CKERNELS_ROWS_H
#define LOCUM_CKERNELS_ROWS_H

#include "half.h"
#include "ops.h"

#include <math.h>

/// e^x without a branch, so that it vectorises. r = x - k ln2 with ln2 in two parts; Taylor to r^7 (the next
/// term is below 2^-27); 2^k in two factors, so that subnormal results come out and none overflows early.
static inline float lk_exp_lane(float x) {
    x = x < -104.0f ? -104.0f : x; // rounds to 0
    x = x > 89.0f ? 89.0f : x;     // overflows to infinity
    float t = __builtin_fmaf(x, 0x1.715476p+0f, 0x1.8p23f); // k sits in the low bits
    float k = t - 0x1.8p23f;
    float r = __builtin_fmaf(k, -0x1.62e4p-1f, x);
    r = __builtin_fmaf(k, -0x1.7f7d1cp-20f, r);
    float p = __builtin_fmaf(1.0f / 5040, r, 1.0f / 720);
    p = __builtin_fmaf(p, r, 1.0f / 120);
    p = __builtin_fmaf(p, r, 1.0f / 24);
    p = __builtin_fmaf(p, r, 1.0f / 6);
    p = __builtin_fmaf(p, r, 0.5f);
    p = __builtin_fmaf(p, r, 1.0f);
    p = __builtin_fmaf(p, r, 1.0f);
    int32_t power = (int32_t)(lk_bits(t) - 0x4b400000u), half = power >> 1;
    return p * lk_float((uint32_t)(half + 127) << 23) * lk_float((uint32_t)(power - half + 127) << 23);
}

static inline float lk_fold(float lane[16]) {
    for (int width = 8; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    }
    return lane[0];
}

static inline float lk_maximum(const float *x, size_t n) {
    float lane[16];
    for (int l = 0; l < 16; l++) lane[l] = -INFINITY;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int l = 0; l < 16; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    }
    for (int l = 0; i < n; i++, l++) lane[l] = x[i] > lane[l] ? x[i] : lane[l];
    float largest = lane[0];
    for (int l = 1; l < 16; l++) largest = lane[l] > largest ? lane[l] : largest;
    return largest;
}

static void weigh_q8_0(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    size_t row_bytes = head_dim / 32 * 34;
    for (size_t b = 0; b < head_dim / 32; b++) {
        const uint8_t *block = (const uint8_t *)v + 34 * b;
        float sum[32] = {0};
        for (size_t p = 0; p < positions; p++, block += row_bytes) {
            float factor = weight[p] * lk_from_f16(lk_load16(block));
            for (int i = 0; i < 32; i++) sum[i] = __builtin_fmaf(factor, (float)(int8_t)block[2 + i], sum[i]);
        }
        memcpy(out + 32 * b, sum, sizeof sum);
    }
}

static void axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = __builtin_fmaf(a, x[i], y[i]);
}

static void rmsnorm(const float *x, const float *w, float eps, size_t n, float *out) {
    float lane[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int l = 0; l < 16; l++) lane[l] = __builtin_fmaf(x[i + l], x[i + l], lane[l]);
    }
    for (int l = 0; i < n; i++, l++) lane[l] = __builtin_fmaf(x[i], x[i], lane[l]);
    float scale = 1.0f / sqrtf(lk_fold(lane) / (float)n + eps);
    for (i = 0; i < n; i++) out[i] = x[i] * scale * w[i];
}

static void softmax(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    float largest = lk_maximum(x, n);
    for (size_t i = 0; i < n; i++) x[i] = lk_exp_lane(x[i] - largest);
    float lane[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int l = 0; l < 16; l++) lane[l] += x[i + l];
    }
    for (int l = 0; i < n; i++, l++) lane[l] += x[i];
    float inverse = 1.0f / lk_fold(lane);
    for (i = 0; i < n; i++) x[i] *= inverse;
}

static double log_sum_exp(const float *x, size_t n) {
    float largest = lk_maximum(x, n);
    double lane[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int l = 0; l < 16; l++) lane[l] += (double)lk_exp_lane(x[i + l] - largest);
    }
    for (int l = 0; i < n; i++, l++) lane[l] += (double)lk_exp_lane(x[i] - largest);
    for (int width = 8; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    }
    return (double)largest + lk_log(lane[0]);
}

static inline float lk_silu_lane(float gate, float up) { return gate / (1.0f + lk_exp_lane(-gate)) * up; }

/// `out` may be `gate` or `up`; so 16 at a time go through memory that nothing else points to, else no vectors come of it.
static void silu_mul(const float *gate, const float *up, size_t n, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        float lane[16];
        for (int l = 0; l < 16; l++) lane[l] = lk_silu_lane(gate[i + l], up[i + l]);
        memcpy(out + i, lane, sizeof lane);
    }
    for (; i < n; i++) out[i] = lk_silu_lane(gate[i], up[i]);
}

#endif

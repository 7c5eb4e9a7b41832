// Rounding 32 or 256 values to a block. Formats with blocks of 32 as ggml's references to the bit (ggml-quants.c,
// quantize_row_*_ref), so that a model quantised here and one quantised there are the same model. The K formats leave
// room for choice: here a search for the least sum of squared errors, first of the scale and minimum of 32 columns (of
// Q6_K: the scale of 16) by themselves, then of the whole steps that stand for them.
//
// Once for all instruction sets, as rows.h, after which this file is included: each try is a lane with sums of its own.
#ifndef LOCUM_CKERNELS_QUANTISE_H
#define LOCUM_CKERNELS_QUANTISE_H

#include "blocks.h"

/// Lines that are tried at once.
enum { TRIES = 16 };

/// The whole part within 0...top; 0 for a NaN.
static inline float cut(float value, float top) {
    value = value > 0 ? value : 0;
    value = value < top ? value : top;
    return (float)(int32_t)value;
}

static inline float inverse_of(float scale) { return scale != 0 ? 1 / scale : 0; }

/// 127 steps up to the largest magnitude.
static void quantise_q8_0(const float *x, struct lk_block_w *out) {
    struct lk_block_x block;
    quantize(x, 32, &block);
    out->d = lk_to_f16(block.d); // exact: it was an f16
    memcpy(out->q, block.q, 32);
}

/// Q4_0 and Q5_0: the value of largest magnitude becomes the lowest number exactly.
static void quantise_centred(lk_format format, const float *x, struct lk_block_w *out) {
    float offset = (float)lk_offset(format), top = 2 * offset - 1, largest = 0, extreme = 0;
    for (int i = 0; i < 32; i++) {
        if (largest < __builtin_fabsf(x[i])) largest = __builtin_fabsf(x[i]), extreme = x[i];
    }
    float d = extreme / -offset, inverse = inverse_of(d);
    out->d = lk_to_f16(d);
    for (int i = 0; i < 32; i++) out->q[i] = (uint8_t)cut(x[i] * inverse + (offset + 0.5f), top);
}

/// Q4_1 and Q5_1: steps from the smallest value to the largest.
static void quantise_between(lk_format format, const float *x, struct lk_block_w *out) {
    float top = (float)((1 << lk_weight_bits(format)) - 1), low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float d = (high - low) / top, inverse = inverse_of(d);
    out->d = lk_to_f16(d);
    out->m = lk_to_f16(low);
    for (int i = 0; i < 32; i++) out->q[i] = (uint8_t)cut((x[i] - low) * inverse + 0.5f, top);
}

/// What values are rounded to: scale * number + minimum, numbers from 0.
struct line {
    float scale, minimum;
};

/// The first of the greatest.
static int best_of(const float gain[TRIES]) {
    int best = 0;
    for (int l = 1; l < TRIES; l++) best = gain[l] > gain[best] ? l : best;
    return best;
}

/// The line with a minimum not above 0 and the least squared error from 32 values that is found by trying some scales
/// around the one that spans them: each gives numbers, and these numbers the best line through them.
static struct line fit_line(const float *x, float top) {
    float low = 0, high = x[0], sum_u = 0;
    for (int i = 0; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float range = high - low, inverse[TRIES], q[TRIES] = {0}, qq[TRIES] = {0}, qu[TRIES] = {0};
    if (range == 0) return (struct line){0, low};
    for (int l = 0; l < TRIES; l++) inverse[l] = (top + 0.125f * (float)(l - 7)) / range;
    for (int i = 0; i < 32; i++) {
        float u = x[i] - low;
        sum_u += u;
        for (int l = 0; l < TRIES; l++) {
            float number = cut(u * inverse[l] + 0.5f, top);
            q[l] += number;
            qq[l] += number * number;
            qu[l] += number * u;
        }
    }
    float scale[TRIES], rest[TRIES], gain[TRIES];
    for (int l = 0; l < TRIES; l++) {
        float determinant = 32 * qq[l] - q[l] * q[l];
        float free_s = (32 * qu[l] - q[l] * sum_u) / determinant;
        float free_r = (qq[l] * sum_u - q[l] * qu[l]) / determinant;
        float bound_s = (qu[l] + low * q[l]) / qq[l];
        scale[l] = low + free_r > 0 ? bound_s : free_s;
        rest[l] = low + free_r > 0 ? -low : free_r;
        // How much less the squared error is than the sum of squares of u.
        float less = 2 * (scale[l] * qu[l] + rest[l] * sum_u) -
                     (scale[l] * scale[l] * qq[l] + 2 * scale[l] * rest[l] * q[l] + 32 * rest[l] * rest[l]);
        gain[l] = determinant > 0 && scale[l] > 0 && less > 0 ? less : 0;
    }
    int best = best_of(gain);
    return gain[best] > 0 ? (struct line){scale[best], low + rest[best]} : (struct line){range / top, low};
}

/// The scale of the line on which number 32 is 0, with the least squared error from 16 values that is found by trying some
/// around the one that makes the value of largest magnitude number 0.
static float fit_scale(const float *x) {
    float largest = 0, extreme = 0, inverse[TRIES], qq[TRIES] = {0}, qx[TRIES] = {0}, gain[TRIES];
    for (int i = 0; i < 16; i++) {
        if (largest < __builtin_fabsf(x[i])) largest = __builtin_fabsf(x[i]), extreme = x[i];
    }
    if (extreme == 0) return 0;
    for (int l = 0; l < TRIES; l++) inverse[l] = -(32 + 0.125f * (float)(l - 8)) / extreme;
    for (int i = 0; i < 16; i++) {
        for (int l = 0; l < TRIES; l++) {
            float number = cut(x[i] * inverse[l] + 32.5f, 63) - 32;
            qq[l] += number * number;
            qx[l] += number * x[i];
        }
    }
    for (int l = 0; l < TRIES; l++) {
        float less = qx[l] / qq[l] * qx[l];
        gain[l] = less > 0 ? less : 0;
    }
    int best = best_of(gain);
    return gain[best] > 0 ? qx[best] / qq[best] : extreme / -32;
}

/// Rounds values to the numbers of that line which is nearest them, and says which.
static int take_nearest(const float *x, size_t count, const float scale[TRIES], const float minimum[TRIES], float top,
                        uint8_t *numbers) {
    float inverse[TRIES], gain[TRIES] = {0};
    for (int l = 0; l < TRIES; l++) inverse[l] = inverse_of(scale[l]);
    for (size_t i = 0; i < count; i++) {
        for (int l = 0; l < TRIES; l++) {
            float number = cut((x[i] - minimum[l]) * inverse[l] + 0.5f, top);
            float error = x[i] - (scale[l] * number + minimum[l]);
            gain[l] -= error * error;
        }
    }
    int best = best_of(gain);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (uint8_t)cut((x[i] - minimum[best]) * inverse[best] + 0.5f, top);
    }
    return best;
}

/// Q4_K and Q5_K.
static void quantise_lines(lk_format format, const float *x, struct lk_block_w *out) {
    float top = (float)((1 << lk_weight_bits(format)) - 1), scale = 0, minimum = -0.0f;
    struct line lines[8];
    for (int b = 0; b < 8; b++) {
        lines[b] = fit_line(x + 32 * b, top);
        scale = lines[b].scale > scale ? lines[b].scale : scale;
        minimum = lines[b].minimum < minimum ? lines[b].minimum : minimum;
    }
    out->d = lk_to_f16(scale / 63);
    out->m = lk_to_f16(minimum / 63);
    float d = lk_from_f16(out->d), m = lk_from_f16(out->m), inverse_d = inverse_of(d), inverse_m = inverse_of(m);

    for (int b = 0; b < 8; b++) {
        float s[TRIES], t[TRIES], scales[TRIES], minima[TRIES];
        for (int l = 0; l < TRIES; l++) {
            s[l] = cut(lines[b].scale * inverse_d + (0.5f + (float)(l % 3 - 1)), 63);
            t[l] = cut(lines[b].minimum * inverse_m + (0.5f + (float)(l / 3 - 2)), 63);
            scales[l] = d * s[l];
            minima[l] = m * t[l];
        }
        int best = take_nearest(x + 32 * b, 32, scales, minima, top, out->q + 32 * b);
        out->scale[b][0] = (uint8_t)s[best];
        out->scale[b][1] = (uint8_t)t[best];
    }
}

static void quantise_q6_k(const float *x, struct lk_block_w *out) {
    float fit[16], largest = 0, extreme = 0;
    for (int b = 0; b < 16; b++) {
        fit[b] = fit_scale(x + 16 * b);
        if (largest < __builtin_fabsf(fit[b])) largest = __builtin_fabsf(fit[b]), extreme = fit[b];
    }
    out->d = lk_to_f16(extreme / -128);
    float d = lk_from_f16(out->d), inverse = inverse_of(d);
    for (int b = 0; b < 16; b++) {
        float s[TRIES], scales[TRIES], minima[TRIES];
        for (int l = 0; l < TRIES; l++) {
            // The nearest step, then those to its left and right in turn.
            float beside = (float)(l % 2 == 0 ? l / 2 : -(l + 1) / 2);
            s[l] = cut(fit[b] * inverse + (128.5f + beside), 255) - 128;
            scales[l] = d * s[l];
            minima[l] = -32 * scales[l];
        }
        int best = take_nearest(x + 16 * b, 16, scales, minima, 63, out->q + 16 * b);
        out->scale[b / 2][b % 2] = (uint8_t)(int8_t)s[best];
    }
}

static void quantise_block(lk_format format, const float *x, struct lk_block_w *out) {
    switch (format) {
    case LK_Q8_0: quantise_q8_0(x, out); return;
    case LK_Q4_0:
    case LK_Q5_0: quantise_centred(format, x, out); return;
    case LK_Q4_1:
    case LK_Q5_1: quantise_between(format, x, out); return;
    case LK_Q6_K: quantise_q6_k(x, out); return;
    default: quantise_lines(format, x, out);
    }
}

#endif

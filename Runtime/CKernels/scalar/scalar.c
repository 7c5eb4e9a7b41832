// The reference: what every other path has to equal, bit for bit. Plain C, one multiply-add at a time
// (fmaf is a library call on a baseline CPU: right, and slow), in the layout that CKernels.h describes.
#include "../rows.h"

enum { FLOATS_AT_ONCE = 16 };

/// One output: a chain over ascending columns. `tile` is the row's tile, `lane` its place in it.
static inline float dot_float(lk_format format, const uint8_t *tile, size_t lane, const float *x, size_t cols) {
    float sum = 0;
    for (size_t c = 0; c < cols; c++) {
        size_t at = c * FLOATS_AT_ONCE + lane;
        float w = format == LK_F32   ? ((const float *)tile)[at]
                  : format == LK_F16 ? lk_from_f16(((const uint16_t *)tile)[at])
                                     : lk_from_bf16(((const uint16_t *)tile)[at]);
        sum = __builtin_fmaf(w, x[c], sum);
    }
    return sum;
}

/// Column c of a block, in steps of its scale.
static inline int32_t number(lk_format format, const uint8_t *block, size_t lane, size_t c) {
    size_t group = c / 4 % 4, half = c / 16, j = c % 4;
    if (format == LK_Q8_0) return (int8_t)block[c / 4 * 64 + lane * 4 + j];
    int32_t low = block[lk_high_bytes(format) + group * 64 + lane * 4 + j] >> 4 * half & 15, high = 0;
    if (lk_weight_bits(format) == 5) high = block[lane * 4 + j] >> c / 4 & 1;
    if (lk_weight_bits(format) == 6) high = block[half * 64 + lane * 4 + j] >> 2 * group & 3;
    return (low | high << 4) - lk_offset(format);
}

/// One output: exact integer sums inside a block, a chain over ascending blocks.
static inline float dot_quantised(lk_format format, const uint8_t *tile, size_t lane, const struct lk_block_x *x,
                                  size_t cols) {
    float sum = 0;
    for (size_t b = 0; b < cols / 32; b++) {
        const uint8_t *block = tile + lk_block_at(format, b);
        int32_t half[2] = {0, 0};
        for (size_t c = 0; c < 32; c++) half[c / 16] += number(format, block, lane, c) * x[b].q[c];

        const uint16_t *head = (const uint16_t *)(tile + lk_head_at(format, b));
        const uint8_t *scales = tile + lk_scales_at(format, b);
        float d = lk_from_f16(head[lane]), m = lk_has_minima(format) ? lk_from_f16(head[16 + lane]) : 0;
        int32_t inside = half[0] + half[1];
        if (format == LK_Q6_K) {
            inside = (int8_t)scales[lane] * half[0] + (int8_t)scales[16 + lane] * half[1];
        } else if (lk_is_k(format)) {
            d *= scales[lane];
            m *= scales[16 + lane];
        }
        sum = __builtin_fmaf(d * x[b].d, (float)inside, sum);
        if (lk_has_minima(format)) sum = __builtin_fmaf(m, x[b].total, sum);
    }
    return sum;
}

static inline void matmul(lk_format format, const void *packed, size_t cols, size_t row_begin, size_t row_end,
                          const void *const *prepared, int n, float *const *y) {
    size_t tile_bytes = lk_tile_bytes(format, cols);
    for (size_t row = row_begin; row < row_end; row++) {
        const uint8_t *tile = (const uint8_t *)packed + row / 16 * tile_bytes;
        for (int i = 0; i < n; i++) {
            y[i][row] = lk_block_columns(format) == 1 ? dot_float(format, tile, row % 16, prepared[i], cols)
                                                      : dot_quantised(format, tile, row % 16, prepared[i], cols);
        }
    }
}

LK_FLOATS(static, matmul)
LK_QUANTISED(static, matmul)

static void quantize(const float *x, size_t cols, struct lk_block_x *out) {
    for (; cols != 0; cols -= 32, x += 32, out++) {
        // The largest magnitude by its bits: those of an infinity or NaN are above all others.
        uint32_t largest = 0;
        for (int i = 0; i < 32; i++) {
            uint32_t magnitude = lk_bits(x[i]) & 0x7fffffffu;
            largest = magnitude > largest ? magnitude : largest;
        }
        float d = lk_float(largest) / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0;
        uint16_t stored = lk_to_f16(d);
        // Nothing to tell apart: too large for a scale (also if not finite), or too small for its inverse.
        int flat = (stored & 0x7c00) == 0x7c00 || inverse == INFINITY;
        out->d = (stored & 0x7c00) == 0x7c00 ? NAN : lk_from_f16(stored);
        out->half[0] = out->half[1] = 0;
        for (int i = 0; i < 32; i++) {
            out->q[i] = flat ? 0 : (int8_t)roundf(x[i] * inverse);
            out->half[i / 16] += out->q[i];
        }
        out->sum = out->half[0] + out->half[1];
        out->total = out->d * (float)out->sum;
    }
}

static void widen_f16(const void *src, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = lk_from_f16(lk_load16((const uint8_t *)src + 2 * i));
}

static void narrow_f16(const float *x, size_t n, void *out) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h = lk_to_f16(x[i]);
        memcpy((uint8_t *)out + 2 * i, &h, 2);
    }
}

static void weigh_f32(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    for (size_t d = 0; d < head_dim; d++) out[d] = 0;
    for (size_t p = 0; p < positions; p++) {
        for (size_t d = 0; d < head_dim; d++) {
            out[d] = __builtin_fmaf(weight[p], ((const float *)v)[p * head_dim + d], out[d]);
        }
    }
}

static void weigh_f16(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    for (size_t d = 0; d < head_dim; d++) out[d] = 0;
    for (size_t p = 0; p < positions; p++) {
        for (size_t d = 0; d < head_dim; d++) {
            out[d] = __builtin_fmaf(weight[p], lk_from_f16(((const uint16_t *)v)[p * head_dim + d]), out[d]);
        }
    }
}

float lk_expf(float x) { return lk_exp_lane(x); }

float lk_sigmoid(float x) { return 1.0f / (1.0f + lk_exp_lane(-x)); }

#include "../quantise.h"

const struct lk_ops lk_ops_scalar = LK_OPS("scalar", matmul, matmul);

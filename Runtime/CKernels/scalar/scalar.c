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

/// One output: exact integer sums inside a block, a chain over ascending blocks.
static inline float dot_quantised(lk_format format, const uint8_t *tile, size_t lane, const struct lk_block_x *x,
                                  size_t cols) {
    size_t blocks = cols / 32, block_bytes = format == LK_Q8_0 ? 512 : 256;
    const uint16_t *scales = (const uint16_t *)tile;
    const uint8_t *quants = tile + (blocks + 1) / 2 * 64;
    float sum = 0;
    for (size_t b = 0; b < blocks; b++) {
        int32_t inside = 0;
        for (size_t c = 0; c < 32; c++) {
            const uint8_t *group = quants + b * block_bytes + lane * 4 + c % 4;
            if (format == LK_Q8_0) inside += (int8_t)group[c / 4 * 64] * x[b].q[c];
            else inside += ((group[c % 16 / 4 * 64] >> (c < 16 ? 0 : 4) & 15) - 8) * x[b].q[c];
        }
        sum = __builtin_fmaf(lk_from_f16(scales[b * 16 + lane]) * x[b].d, (float)inside, sum);
    }
    return sum;
}

static inline void matmul(lk_format format, const void *packed, size_t rows, size_t cols, size_t row_begin,
                          size_t row_end, const void *const *prepared, int n, float *const *y) {
    (void)rows;
    size_t tile_bytes = lk_tile_bytes(format, cols);
    for (size_t row = row_begin; row < row_end; row++) {
        const uint8_t *tile = (const uint8_t *)packed + row / 16 * tile_bytes;
        for (int i = 0; i < n; i++) {
            y[i][row] = lk_block_columns(format) == 1 ? dot_float(format, tile, row % 16, prepared[i], cols)
                                                      : dot_quantised(format, tile, row % 16, prepared[i], cols);
        }
    }
}

#define MATMUL(name, format)                                                                                     \
    static void name(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,             \
                     const void *const *prepared, int n, float *const *y) {                                      \
        matmul(format, packed, rows, cols, row_begin, row_end, prepared, n, y);                                  \
    }
MATMUL(matmul_f32, LK_F32)
MATMUL(matmul_f16, LK_F16)
MATMUL(matmul_bf16, LK_BF16)
MATMUL(matmul_q8_0, LK_Q8_0)
MATMUL(matmul_q4_0, LK_Q4_0)

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
        out->sum = 0;
        for (int i = 0; i < 32; i++) {
            out->q[i] = flat ? 0 : (int8_t)roundf(x[i] * inverse);
            out->sum += out->q[i];
        }
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

const struct lk_ops lk_ops_scalar = {
    .name = "scalar",
    .matmul = {matmul_f32, matmul_f16, matmul_bf16, matmul_q8_0, matmul_q4_0},
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

// The table that dispatch.c chooses: one per instruction set. What is not in it is the same C for all CPUs,
// because nothing in it is hot or because a plain loop without fused multiply-adds vectorises by itself.
#ifndef LOCUM_CKERNELS_OPS_H
#define LOCUM_CKERNELS_OPS_H

#include "blocks.h"

/// 32 activations as int8 with their scale (an f16 value, widened) and their sums, which take minima and offsets (Q4_0's
/// 8, the 128 that VNNI paths add to Q8_0) out of the inner loop.
struct lk_block_x {
    float d;
    float total; // d * sum, exact
    int32_t sum;
    int16_t half[2]; // the sums of the first 16 and of the others
    int8_t q[32];
};

typedef void lk_matmul_fn(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                          const void *const *prepared, int n, float *const *y);

struct lk_ops {
    const char *name;
    lk_matmul_fn *matmul[LK_FORMATS]; // by lk_format
    void (*quantize)(const float *x, size_t cols, struct lk_block_x *out);
    /// rounds lk_block_columns finite values to a block; where one is too large, a scale is not finite
    void (*quantise_block)(lk_format format, const float *x, struct lk_block_w *out);
    void (*widen_f16)(const void *src, size_t n, float *out);
    void (*narrow_f16)(const float *x, size_t n, void *out);
    /// out (head_dim,) = sum over p of weight[p] * V[p], one chain per element
    void (*weigh[3])(const void *v, size_t head_dim, size_t positions, const float *weight, float *out);
    void (*axpy)(float *y, float a, const float *x, size_t n);
    void (*rmsnorm)(const float *x, const float *w, float eps, size_t n, float *out);
    void (*softmax)(float *x, size_t n, float scale); // x = softmax(scale * x)
    double (*log_sum_exp)(const float *x, size_t n);
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
};

extern const struct lk_ops lk_ops_scalar;
#if defined(__x86_64__)
extern const struct lk_ops lk_ops_avx2, lk_ops_avxvnni, lk_ops_avx512;
#elif defined(__aarch64__)
extern const struct lk_ops lk_ops_neon;
#endif

/// A product of one format, by the path's own `matmul`, which takes the format as a constant.
#define LK_MATMUL(name, format)                                                                                  \
    void name(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,                    \
              const void *const *prepared, int n, float *const *y) {                                             \
        (void)rows;                                                                                              \
        matmul(format, packed, cols, row_begin, row_end, prepared, n, y);                                        \
    }

#define LK_FLOAT_NAMES(path) path##_f32, path##_f16, path##_bf16
#define LK_QUANTISED_NAMES(path)                                                                                 \
    path##_q8_0, path##_q4_0, path##_q4_1, path##_q5_0, path##_q5_1, path##_q4_k, path##_q5_k, path##_q6_k

/// All products of float formats, and of quantised ones; `kind` is `static` or nothing.
#define LK_FLOATS(kind, path)                                                                                    \
    kind LK_MATMUL(path##_f32, LK_F32)                                                                           \
    kind LK_MATMUL(path##_f16, LK_F16)                                                                           \
    kind LK_MATMUL(path##_bf16, LK_BF16)
#define LK_QUANTISED(kind, path)                                                                                 \
    kind LK_MATMUL(path##_q8_0, LK_Q8_0)                                                                         \
    kind LK_MATMUL(path##_q4_0, LK_Q4_0)                                                                         \
    kind LK_MATMUL(path##_q4_1, LK_Q4_1)                                                                         \
    kind LK_MATMUL(path##_q5_0, LK_Q5_0)                                                                         \
    kind LK_MATMUL(path##_q5_1, LK_Q5_1)                                                                         \
    kind LK_MATMUL(path##_q4_k, LK_Q4_K)                                                                         \
    kind LK_MATMUL(path##_q5_k, LK_Q5_K)                                                                         \
    kind LK_MATMUL(path##_q6_k, LK_Q6_K)

/// A path's table: its products, and the row operations of the file where this stands.
#define LK_OPS(isa, floats, quantised)                                                                           \
    {.name = isa,                                                                                                \
     .matmul = {LK_FLOAT_NAMES(floats), LK_QUANTISED_NAMES(quantised)},                                          \
     .quantize = quantize,                                                                                       \
     .quantise_block = quantise_block,                                                                           \
     .widen_f16 = widen_f16,                                                                                     \
     .narrow_f16 = narrow_f16,                                                                                   \
     .weigh = {weigh_f32, weigh_f16, weigh_q8_0},                                                                \
     .axpy = axpy,                                                                                               \
     .rmsnorm = rmsnorm,                                                                                         \
     .softmax = softmax,                                                                                         \
     .log_sum_exp = log_sum_exp,                                                                                 \
     .silu_mul = silu_mul}

/// What keys and values are stored as.
static inline lk_format lk_kv_format(lk_kv kv) {
    return kv == LK_KV_F32 ? LK_F32 : kv == LK_KV_F16 ? LK_F16 : LK_Q8_0;
}

/// The table in force.
const struct lk_ops *lk_ops(void);

#endif

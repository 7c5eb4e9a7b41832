// The table that dispatch.c chooses: one per instruction set. What is not in it is the same C for all CPUs,
// because nothing in it is hot or because a plain loop without fused multiply-adds vectorises by itself.
#ifndef LOCUM_CKERNELS_OPS_H
#define LOCUM_CKERNELS_OPS_H

#include "include/CKernels.h"

/// 32 activations as int8 with their scale (an f16 value, widened) and their sum, which takes the offset 8 of
/// Q4_0, and the 128 that VNNI paths add to Q8_0, out of the inner loop.
struct lk_block_x {
    float d;
    int32_t sum;
    int8_t q[32];
};

typedef void lk_matmul_fn(const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
                          const void *const *prepared, int n, float *const *y);

struct lk_ops {
    const char *name;
    lk_matmul_fn *matmul[5]; // by lk_format
    void (*quantize)(const float *x, size_t cols, struct lk_block_x *out);
    void (*widen_f16)(const void *src, size_t n, float *out);
    void (*narrow_f16)(const float *x, size_t n, void *out);
    /// out (head_dim,) = sum over p of weight[p] * V[p], one chain per element
    void (*weigh[2])(const void *v, size_t head_dim, size_t positions, const float *weight, float *out);
    void (*axpy)(float *y, float a, const float *x, size_t n);
    void (*rmsnorm)(const float *x, const float *w, float eps, size_t n, float *out);
    void (*softmax)(float *x, size_t n, float scale); // x = softmax(scale * x)
    double (*log_sum_exp)(const float *x, size_t n);
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
};

extern const struct lk_ops lk_ops_scalar;
#if defined(__x86_64__)
extern const struct lk_ops lk_ops_avx2, lk_ops_avxvnni, lk_ops_avx512;
#endif

/// The table in force.
const struct lk_ops *lk_ops(void);

#endif

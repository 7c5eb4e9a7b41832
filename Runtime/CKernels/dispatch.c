// The choice of instruction set, and the public functions that only hand on to it. The choice is one atomic
// pointer to a constant table: a fork inherits it, threads may read it at any time, and because all paths give
// the same bits, even changing it under way changes no result.
#include "include/CKernels.h"
#include "ops.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

static _Atomic(const struct lk_ops *) chosen = &lk_ops_scalar;

const struct lk_ops *lk_ops(void) { return atomic_load_explicit(&chosen, memory_order_relaxed); }

const char *lk_isa(void) { return lk_ops()->name; }

/// The tables of this CPU, widest first; NULL ends them.
static void available(const struct lk_ops *tables[5]) {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512vnni")) {
            tables[count++] = &lk_ops_avx512;
        }
        if (__builtin_cpu_supports("avxvnni")) tables[count++] = &lk_ops_avxvnni;
        tables[count++] = &lk_ops_avx2;
    }
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) tables[count++] = &lk_ops_neon;
#endif
    tables[count++] = &lk_ops_scalar;
    tables[count] = NULL;
}

int lk_select(const char *isa) {
    const struct lk_ops *tables[5];
    available(tables);
    for (int i = 0; tables[i] != NULL; i++) {
        if (isa != NULL && strcmp(isa, tables[i]->name) != 0) continue;
        atomic_store(&chosen, tables[i]);
        return LK_OK;
    }
    return LK_UNKNOWN;
}

void lk_init(void) {
    const char *wanted = getenv("LOCUM_ISA");
    if (wanted == NULL || lk_select(wanted) != LK_OK) lk_select(NULL);
}

void lk_matmul(lk_format format, const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
               const void *const *prepared, int n, float *const *y) {
    lk_ops()->matmul[format](packed, rows, cols, row_begin, row_end, prepared, n, y);
}

void lk_axpy(float *y, float a, const float *x, size_t n) { lk_ops()->axpy(y, a, x, n); }

void lk_rmsnorm(const float *x, const float *w, float eps, size_t n, float *out) {
    lk_ops()->rmsnorm(x, w, eps, n, out);
}

void lk_softmax(float *x, size_t n) { lk_ops()->softmax(x, n, 1.0f); }

double lk_log_sum_exp(const float *x, size_t n) { return lk_ops()->log_sum_exp(x, n); }

void lk_silu_mul(const float *gate, const float *up, size_t n, float *out) { lk_ops()->silu_mul(gate, up, n, out); }

void lk_prepare(lk_format format, const float *x, size_t cols, void *out) {
    if (lk_block_columns(format) == 1) memcpy(out, x, cols * 4);
    else lk_ops()->quantize(x, cols, out);
}

void lk_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

// Whether a path gives the bits of the scalar one: each kernel on random cases (10,000 or the number given), compared byte
// by byte, any NaN being as good as another. Ends with a digest of the scalar path's results, which is the same on all
// machines for the same number of cases. A program without Swift, for machines that Swift is not built for: NEON by qemu.
//
//   clang -O3 -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -I Runtime/CKernels/include Tests/Kernels/paths.c \
//       Runtime/CKernels/*.c Runtime/CKernels/*/*.c -lm -o kernel-paths
//   ./kernel-paths
//
//   the same with --target=aarch64-linux-gnu -static, then: qemu-aarch64 ./kernel-paths
#include "CKernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 40, MOST_COLS = 768, MOST_BATCH = 9, MOST = 4096 };

static uint64_t state;

/// SplitMix64 (Steele, Lea, Flood 2014).
static uint64_t word(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n) { return word() % n; }

static float uniform(float most) { return (float)((double)(word() >> 11) * 0x1p-52 - 1) * most; }

/// Zeros of both signs, subnormals, tiny and large values among ordinary ones; in one case of 64 also infinities and NaN.
static void fill(float *x, size_t n) {
    size_t broken = below(64) == 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)word();
        switch (word() % 16) {
        case 0: bits &= 0x80000000u; break;
        case 1: bits &= 0x807fffffu; break;
        case 2:
            if (!broken) bits &= 0xbfffffffu;
            break;
        default: bits = 0;
        }
        if (bits != 0) memcpy(x + i, &bits, 4);
        else x[i] = word() % 16 == 0 ? uniform(1e6f) : uniform(3);
    }
}

/// A plain row of random bits; the f16 scales are below 2, but in one block of 64 whatever comes.
static void fill_row(lk_format format, uint8_t *row, size_t cols) {
    float x[MOST_COLS], scratch[MOST_COLS];
    size_t columns = lk_block_columns(format), bytes = lk_row_bytes(format, columns);
    if (columns == 1) {
        for (size_t c = 0; c < cols; c++) x[c] = uniform(3);
        if (lk_convert_row(LK_F32, x, cols, format, row, scratch) != LK_OK) abort();
        return;
    }
    for (size_t i = 0; i < lk_row_bytes(format, cols); i++) row[i] = (uint8_t)word();
    for (size_t c = 0; c < cols; c += columns, row += bytes) {
        if (below(64) == 0) continue;
        row[format == LK_Q6_K ? 209 : 1] &= 0xbf;
        if (format != LK_Q8_0 && format != LK_Q4_0 && format != LK_Q5_0 && format != LK_Q6_K) row[3] &= 0xbf;
    }
}

static _Alignas(64) uint8_t packed[48 * MOST_COLS * 4], rows[16][MOST_COLS * 4], prepared[MOST_BATCH][MOST_COLS * 8];
static float scratch[17 * MOST_COLS];

/// A product of `format`: every row that is asked for.
static size_t product(int format, float *out) {
    size_t columns = lk_block_columns((lk_format)format);
    size_t count = 1 + below(MOST_ROWS), cols = columns * (1 + below(columns == 1 ? 100 : columns == 32 ? 9 : 3));
    size_t tile = lk_tile_bytes((lk_format)format, cols), tiles = (count + 15) / 16;
    for (size_t t = 0; t < tiles; t++) {
        const void *pointers[16];
        for (size_t r = 0; r < 16; r++) {
            pointers[r] = t * 16 + r < count ? rows[r] : NULL;
            fill_row((lk_format)format, rows[r], cols);
        }
        int error = lk_pack_tile((lk_format)format, pointers, cols, (lk_format)format, packed + t * tile, scratch);
        if (error != LK_OK) abort();
    }
    int n = 1 + (int)below(MOST_BATCH);
    const void *x[MOST_BATCH];
    float *y[MOST_BATCH], row[MOST_COLS];
    for (int i = 0; i < n; i++) {
        fill(row, cols);
        lk_prepare((lk_format)format, row, cols, prepared[i]);
        x[i] = prepared[i];
        y[i] = out + (size_t)i * count;
    }
    size_t split = below(tiles) * 16;
    if (split != 0) lk_matmul((lk_format)format, packed, count, cols, 0, split, x, n, y);
    lk_matmul((lk_format)format, packed, count, cols, split, count, x, n, y);
    return (size_t)n * count;
}

static size_t prepare(int format, float *out) {
    float x[MOST_COLS];
    size_t cols = 32 * (1 + below(MOST_COLS / 32));
    fill(x, cols);
    if (below(2) == 0) {
        for (size_t i = 0; i < cols; i++) x[i] = (float)((int)below(255) - 127) / 2; // halves
    }
    lk_prepare((lk_format)format, x, cols, out);
    return lk_prepared_bytes((lk_format)format, cols) / 4;
}

/// Rounds to `format` and widens again.
static size_t convert(int format, float *out) {
    float x[MOST_COLS];
    size_t cols = format <= LK_BF16 ? 1 + below(MOST_COLS) : 256 * (1 + below(3));
    for (size_t i = 0; i < cols; i++) x[i] = word() % 8 == 0 ? uniform(1e-6f) : uniform(word() % 8 == 0 ? 1e4f : 3);
    if (lk_convert_row(LK_F32, x, cols, (lk_format)format, rows, scratch) != LK_OK) abort();
    if (lk_widen_row((lk_format)format, rows, cols, out) != LK_OK) abort();
    return cols;
}

/// A row operation.
static size_t row_operation(int which, float *out) {
    float x[MOST], y[MOST];
    size_t n = 1 + below(below(8) == 0 ? MOST : 100);
    fill(x, n);
    fill(out, n);
    for (size_t i = 0; i < n; i++) y[i] = uniform(200);
    switch (which) {
    case 0: lk_add(out, x, n); break;
    case 1: lk_axpy(out, 0.3f, x, n); break;
    case 2: lk_rmsnorm(x, y, 1e-6f, n, out); break;
    case 3:
        memcpy(out, y, n * 4);
        lk_softmax(out, n);
        break;
    case 4:
        // As it is called: in place.
        if (below(2) == 0) {
            memcpy(out, y, n * 4);
            lk_silu_mul(out, x, n, out);
        } else {
            lk_silu_mul(y, x, n, out);
        }
        break;
    case 5: {
        double sum = lk_log_sum_exp(y, n);
        memcpy(out, &sum, 8);
        return 2;
    }
    default:
        for (size_t i = 0; i < n; i++) out[i] = lk_sigmoid(y[i]);
    }
    return n;
}

static size_t attention(int kv, float *out) {
    enum { DIM = 80, POSITIONS = 50, HEADS = 10 };
    static _Alignas(64) float keys[64 * DIM], values[64 * DIM], scores[64 * HEADS];
    float k[DIM], v[DIM], q[DIM * HEADS];
    size_t dim = kv == LK_KV_Q8_0 ? 32 * (1 + below(DIM / 32)) : 2 * (1 + below(DIM / 2));
    size_t positions = 1 + below(POSITIONS), heads = 1 + below(HEADS);
    for (size_t p = 0; p < positions; p++) {
        for (size_t d = 0; d < dim; d++) k[d] = uniform(3), v[d] = uniform(3);
        lk_kv_store((lk_kv)kv, keys, values, dim, p, k, v);
    }
    for (size_t i = 0; i < dim * heads; i++) q[i] = uniform(3);
    lk_attention((lk_kv)kv, keys, values, dim, positions, q, heads, 0.3f, scores, out);
    return dim * heads;
}

/// Every NaN to the same.
static void settle(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (x[i] != x[i]) memset(x + i, 0xff, 4);
    }
}

/// FNV-1a.
static uint64_t digest(uint64_t hash, const float *x, size_t n) {
    const uint8_t *bytes = (const uint8_t *)x;
    for (size_t i = 0; i < n * 4; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static const struct {
    const char *name;
    size_t (*run)(int argument, float *out);
    int argument;
} kernels[] = {
    {"product f32", product, LK_F32},      {"product f16", product, LK_F16},      {"product bf16", product, LK_BF16},
    {"product q8_0", product, LK_Q8_0},    {"product q4_0", product, LK_Q4_0},    {"product q4_1", product, LK_Q4_1},
    {"product q5_0", product, LK_Q5_0},    {"product q5_1", product, LK_Q5_1},    {"product q4_k", product, LK_Q4_K},
    {"product q5_k", product, LK_Q5_K},    {"product q6_k", product, LK_Q6_K},    {"prepare", prepare, LK_Q8_0},
    {"convert f16", convert, LK_F16},      {"convert bf16", convert, LK_BF16},    {"convert q8_0", convert, LK_Q8_0},
    {"convert q4_k", convert, LK_Q4_K},    {"convert q6_k", convert, LK_Q6_K},    {"add", row_operation, 0},
    {"axpy", row_operation, 1},            {"rmsnorm", row_operation, 2},         {"softmax", row_operation, 3},
    {"silu_mul", row_operation, 4},        {"log_sum_exp", row_operation, 5},     {"sigmoid", row_operation, 6},
    {"attention f32", attention, LK_KV_F32}, {"attention f16", attention, LK_KV_F16},
    {"attention q8_0", attention, LK_KV_Q8_0},
};

int main(int argc, char **argv) {
    static const char *const paths[] = {"avx2", "avxvnni", "avx512", "neon"};
    static float scalar[MOST * 4], other[MOST * 4];
    long cases = argc > 1 ? atol(argv[1]) : 10000, wrong = 0, checked = 0;
    uint64_t hash = 0;
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        if (lk_select(paths[p]) != LK_OK) continue;
        hash = 0xcbf29ce484222325u;
        for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
            long differing = 0;
            for (long c = 0; c < cases; c++) {
                lk_select("scalar");
                state = (uint64_t)c;
                size_t n = kernels[k].run(kernels[k].argument, scalar);
                lk_select(paths[p]);
                state = (uint64_t)c;
                if (kernels[k].run(kernels[k].argument, other) != n) abort();
                if (kernels[k].run != prepare) settle(scalar, n), settle(other, n); // its integers may look like a NaN
                hash = digest(hash, scalar, n);
                differing += memcmp(scalar, other, n * 4) != 0;
            }
            printf("%-8s %-16s %ld cases, %ld differ\n", paths[p], kernels[k].name, cases, differing);
            wrong += differing;
            checked += cases;
        }
    }
    printf("%ld cases, %ld differ; digest %016llx\n", checked, wrong, (unsigned long long)hash);
    return wrong != 0 || checked == 0;
}

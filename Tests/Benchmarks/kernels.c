// How fast the kernels are, without anything around them: matrix products of a Mixture-of-Experts shape, with
// weights read from memory (many copies, together larger than most caches) and with weights in cache, beside
// what a plain loop reads from the same memory in the same run. Ratios to that loop travel between machines,
// absolute figures do not. Prints a table; with an argument, writes the same as JSON to that file.
//
//   clang -O2 -I Runtime/CKernels/include Tests/Benchmarks/kernels.c KERNEL_OBJECTS -lm -o kernels-bench
#include "CKernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 1408, COLS = 2048, LARGEST_BATCH = 64, ROUNDS = 5 };
static const size_t FROM_MEMORY = 1000u << 20;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (p == NULL) {
        fprintf(stderr, "kernels-bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

/// Bytes per second of a plain 64-bit sum: what this core gets from memory without trying.
static double plain_read(const uint64_t *words, size_t bytes) {
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        uint64_t sum[4] = {0};
        for (size_t i = 0; i + 4 <= bytes / 8; i += 4) {
            for (int l = 0; l < 4; l++) sum[l] += words[i + (size_t)l];
        }
        volatile uint64_t kept = sum[0] + sum[1] + sum[2] + sum[3];
        (void)kept;
        double rate = (double)bytes / (seconds() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/// The best time of one product, over `copies` of the packed matrix in turn.
static double product_time(lk_format format, const uint8_t *packed, size_t bytes, size_t copies,
                           const void *const *x, int n, float *const *y) {
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (size_t c = 0; c < copies; c++) lk_matmul(format, packed + c * bytes, ROWS, COLS, 0, ROWS, x, n, y);
        double each = (seconds() - start) / (double)copies;
        best = each < best ? each : best;
    }
    return best;
}

/// `copies` packed matrices of random weights; every tile is the same, which no kernel can notice.
static uint8_t *pack(lk_format format, size_t copies) {
    size_t bytes = lk_packed_bytes(format, ROWS, COLS) * copies, tile = lk_tile_bytes(format, COLS);
    uint8_t *packed = memory(bytes);
    float *rows = memory(16 * COLS * 4), *scratch = memory(lk_pack_scratch_floats(COLS) * 4);
    const void *pointers[16];
    for (int i = 0; i < 16 * COLS; i++) rows[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    for (int r = 0; r < 16; r++) pointers[r] = rows + r * COLS;
    if (lk_pack_tile(LK_F32, pointers, COLS, format, packed, scratch) != LK_OK) exit(1);
    for (size_t at = tile; at < bytes; at += tile) memcpy(packed + at, packed, tile);
    free(rows);
    free(scratch);
    return packed;
}

int main(int argc, char **argv) {
    static const struct { lk_format format; const char *name; } formats[] = {
        {LK_F32, "f32"}, {LK_F16, "f16"}, {LK_BF16, "bf16"}, {LK_Q8_0, "q8_0"}, {LK_Q4_0, "q4_0"}, {LK_Q4_1, "q4_1"},
        {LK_Q5_0, "q5_0"}, {LK_Q5_1, "q5_1"}, {LK_Q4_K, "q4_k"}, {LK_Q5_K, "q5_k"}, {LK_Q6_K, "q6_k"}};
    static const int batches[] = {1, 4, 16, LARGEST_BATCH};
    FILE *json = argc > 1 ? fopen(argv[1], "w") : NULL;
    if (argc > 1 && json == NULL) {
        perror(argv[1]);
        return 1;
    }

    lk_init();
    uint64_t *words = memory(FROM_MEMORY);
    memset(words, 1, FROM_MEMORY);
    double read = plain_read(words, FROM_MEMORY);
    free(words);
    printf("kernels: %s, (%d, %d), one thread; a plain loop reads %.1f GB/s\n", lk_isa(), ROWS, COLS, read / 1e9);
    printf("format  batch  from memory us    GB/s  of plain  in cache us    GB/s  GFLOP/s\n");
    if (json) fprintf(json, "{\"isa\": \"%s\", \"plain_read_gb_s\": %.2f, \"products\": [", lk_isa(), read / 1e9);

    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        lk_format format = formats[f].format;
        size_t bytes = lk_packed_bytes(format, ROWS, COLS), copies = FROM_MEMORY / bytes;
        uint8_t *packed = pack(format, copies);
        void *x[LARGEST_BATCH];
        const void *inputs[LARGEST_BATCH];
        float *y[LARGEST_BATCH], row[COLS];
        for (int i = 0; i < LARGEST_BATCH; i++) {
            for (int c = 0; c < COLS; c++) row[c] = (float)rand() / (float)RAND_MAX - 0.5f;
            inputs[i] = x[i] = memory(lk_prepared_bytes(format, COLS));
            lk_prepare(format, row, COLS, x[i]);
            y[i] = memory(ROWS * 4);
        }
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            int n = batches[b];
            double cold = product_time(format, packed, bytes, copies, inputs, n, y);
            double warm = product_time(format, packed, bytes, 1, inputs, n, y);
            double flop = 2.0 * ROWS * COLS * n;
            printf("%-6s %6d %15.1f %7.1f %8.0f%% %12.1f %7.1f %8.1f\n", formats[f].name, n, cold * 1e6,
                   (double)bytes / cold / 1e9, 100 * (double)bytes / cold / read, warm * 1e6,
                   (double)bytes / warm / 1e9, flop / warm / 1e9);
            if (json) {
                fprintf(json, "%s\n  {\"format\": \"%s\", \"batch\": %d, \"memory_us\": %.2f, \"cache_us\": %.2f, "
                              "\"of_plain_read\": %.3f}", f + b == 0 ? "" : ",", formats[f].name, n, cold * 1e6,
                        warm * 1e6, (double)bytes / cold / read);
            }
        }
        for (int i = 0; i < LARGEST_BATCH; i++) free(x[i]), free(y[i]);
        free(packed);
    }
    if (json) {
        fprintf(json, "\n]}\n");
        if (fclose(json) != 0) return perror(argv[1]), 1;
    }
    return 0;
}

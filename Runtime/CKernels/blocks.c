// The blocks of GGUF rows (ggml-common.h), each its fields in this order:
//
//   Q8_0  d, int8 q[32]              Q5_0  d, high[4], nibbles[16]       Q4_K  d, m, scales[12], nibbles[128]
//   Q4_0  d, nibbles[16]             Q5_1  d, m, high[4], nibbles[16]    Q5_K  d, m, scales[12], high[32], nibbles[128]
//   Q4_1  d, m, nibbles[16]                                              Q6_K  nibbles[128], high[64], int8 s[16], d
//
// Nibbles: of each run of n bytes the low ones are n columns, then the high ones the next n; a run is 16 bytes, 32 in
// Q4_K and Q5_K, 64 in Q6_K. High bits: Q5_0's and Q5_1's bit c is column c's; bit b of Q5_K's byte i is that of column
// 32b + i; bits 2b and 2b + 1 of byte i, of 32 for each half of a Q6_K block, are those of the half's column 32b + i.
#include "blocks.h"
#include "half.h"

size_t lk_plain_bytes(lk_format format) {
    switch (format) {
    case LK_F32: return 4;
    case LK_F16: return 2;
    case LK_BF16: return 2;
    case LK_Q8_0: return 34;
    case LK_Q4_0: return 18;
    case LK_Q4_1: return 20;
    case LK_Q5_0: return 22;
    case LK_Q5_1: return 24;
    case LK_Q4_K: return 144;
    case LK_Q5_K: return 176;
    case LK_Q6_K: return 210;
    }
    return 0;
}

/// Where a block's fields begin.
struct fields {
    size_t d, scales, high, nibbles, run, columns;
};

static struct fields fields(lk_format format) {
    switch (format) {
    case LK_Q4_1: return (struct fields){.nibbles = 4, .run = 16, .columns = 32};
    case LK_Q5_0: return (struct fields){.high = 2, .nibbles = 6, .run = 16, .columns = 32};
    case LK_Q5_1: return (struct fields){.high = 4, .nibbles = 8, .run = 16, .columns = 32};
    case LK_Q4_K: return (struct fields){.scales = 4, .nibbles = 16, .run = 32, .columns = 256};
    case LK_Q5_K: return (struct fields){.scales = 4, .high = 16, .nibbles = 48, .run = 32, .columns = 256};
    case LK_Q6_K: return (struct fields){.d = 208, .scales = 192, .high = 128, .run = 64, .columns = 256};
    default: return (struct fields){.nibbles = 2, .run = 16, .columns = 32};
    }
}

/// The 6-bit scales and minima of 8 times 32 columns: low 6 bits of bytes 0..3 and 4..7 are the first four's; the others'
/// low 4 bits are the nibbles of bytes 8..11, their high 2 bits the two that are left above.
static void read_scales(const uint8_t *p, uint8_t scale[8][2]) {
    for (int i = 0; i < 4; i++) {
        scale[i][0] = p[i] & 63;
        scale[i][1] = p[i + 4] & 63;
        scale[i + 4][0] = (uint8_t)((p[i + 8] & 15) | p[i] >> 6 << 4);
        scale[i + 4][1] = (uint8_t)(p[i + 8] >> 4 | p[i + 4] >> 6 << 4);
    }
}

static void write_scales(const uint8_t scale[8][2], uint8_t *p) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(scale[i][0] | scale[i + 4][0] >> 4 << 6);
        p[i + 4] = (uint8_t)(scale[i][1] | scale[i + 4][1] >> 4 << 6);
        p[i + 8] = (uint8_t)((scale[i + 4][0] & 15) | scale[i + 4][1] << 4);
    }
}

/// K formats subtract the minimum.
static uint16_t as_added(lk_format format, uint16_t m) { return lk_is_k(format) ? m ^ 0x8000 : m; }

void lk_read_block(lk_format format, const uint8_t *plain, struct lk_block_w *out) {
    const struct fields at = fields(format);
    out->d = lk_load16(plain + at.d);
    out->m = lk_has_minima(format) ? as_added(format, lk_load16(plain + 2)) : 0x8000;
    if (format == LK_Q8_0) {
        memcpy(out->q, plain + 2, 32);
        return;
    }
    if (format == LK_Q6_K) memcpy(out->scale, plain + at.scales, 16);
    else if (lk_is_k(format)) read_scales(plain + at.scales, out->scale);

    // Runs of 16 and 32 columns, which compilers make vectors of.
    const uint8_t *restrict nibbles = plain + at.nibbles, *restrict high = plain + at.high;
    uint8_t *restrict q = out->q;
    for (size_t c = 0; c < at.columns; c += 2 * at.run, nibbles += at.run) {
        for (size_t first = 0; first < at.run; first += 16) {
            for (size_t i = first; i < first + 16; i++) {
                q[c + i] = nibbles[i] & 15;
                q[c + i + at.run] = nibbles[i] >> 4;
            }
        }
    }
    if (format == LK_Q5_0 || format == LK_Q5_1) {
        uint32_t bits = lk_load32(high);
        for (size_t c = 0; c < 32; c++) q[c] |= (uint8_t)((bits >> c & 1) << 4);
    } else if (format == LK_Q5_K) {
        for (size_t b = 0; b < 8; b++) {
            for (size_t i = 0; i < 32; i++) q[32 * b + i] |= (uint8_t)((high[i] >> b & 1) << 4);
        }
    } else if (format == LK_Q6_K) {
        for (size_t b = 0; b < 8; b++) {
            const uint8_t *restrict two = high + b / 4 * 32;
            for (size_t i = 0; i < 32; i++) q[32 * b + i] |= (uint8_t)((two[i] >> b % 4 * 2 & 3) << 4);
        }
    }
}

void lk_write_block(lk_format format, const struct lk_block_w *block, uint8_t *plain) {
    const struct fields at = fields(format);
    memset(plain, 0, lk_plain_bytes(format));
    memcpy(plain + at.d, &block->d, 2);
    if (lk_has_minima(format)) {
        uint16_t m = as_added(format, block->m);
        memcpy(plain + 2, &m, 2);
    }
    if (format == LK_Q8_0) {
        memcpy(plain + 2, block->q, 32);
        return;
    }
    if (format == LK_Q6_K) memcpy(plain + at.scales, block->scale, 16);
    else if (lk_is_k(format)) write_scales(block->scale, plain + at.scales);

    uint8_t *nibbles = plain + at.nibbles, *high = plain + at.high;
    for (size_t c = 0; c < at.columns; c += 2 * at.run, nibbles += at.run) {
        for (size_t i = 0; i < at.run; i++) {
            nibbles[i] = (uint8_t)((block->q[c + i] & 15) | block->q[c + i + at.run] << 4);
        }
    }
    if (format == LK_Q5_0 || format == LK_Q5_1) {
        for (size_t c = 0; c < 32; c++) high[c / 8] |= (uint8_t)(block->q[c] >> 4 << c % 8);
    } else if (format == LK_Q5_K) {
        for (size_t c = 0; c < 256; c++) high[c % 32] |= (uint8_t)(block->q[c] >> 4 << c / 32);
    } else if (format == LK_Q6_K) {
        for (size_t c = 0; c < 256; c++) {
            high[c / 128 * 32 + c % 32] |= (uint8_t)(block->q[c] >> 4 << c % 128 / 32 * 2);
        }
    }
}

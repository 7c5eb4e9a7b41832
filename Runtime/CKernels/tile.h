// A packed tile of quantised weights: where things are, for those that write it and those that read it. It is a row of
// runs, each 64 columns (256 of a K format, 32 of one with minima):
//
//   head     a line of 64 bytes: for each scale (of 32 or 256 columns) 16 f16 scales; where there are minima, 16 f16 minima
//            as they are added (GGUF's, which K formats subtract, with the other sign)
//   scales   K formats: for each 32 columns 16 bytes of scales and 16 of minima, or in Q6_K the scales of the two halves
//   blocks   for each 32 columns
//              high bits  5 bits: a word a row, bit 8j + g that of column 4g + j
//                         6 bits: two words a row, a half each; bits 8j + 2g and the next those of its column 4g + j
//              nibbles    for each g < 4 a word a row: byte j has column 4g + j below, column 16 + 4g + j above
//            Q8_0: for each g < 8 a word a row, byte j being column 4g + j.
//
// So one row of activations reads a tile from its first byte to its last, and the next tile behind it: a single ascending
// stream, which is what a CPU's own prefetcher is best at. On one core of a Zen 4 that reads 27 GB/s (Q4_0, pages of 2 MiB):
// 26 GB/s; with the scales of a whole tile in front of its numbers 14, and at best 19 with software prefetches.
// `format` is a constant where these are inlined.
#ifndef LOCUM_CKERNELS_TILE_H
#define LOCUM_CKERNELS_TILE_H

#include "include/CKernels.h"

enum { LK_FORMATS = LK_Q6_K + 1 };

/// Whether each 32 columns have scales of their own below the f16 ones, which are for 256.
static inline int lk_is_k(lk_format format) { return format >= LK_Q4_K; }

static inline int lk_has_minima(lk_format format) {
    return format == LK_Q4_1 || format == LK_Q5_1 || format == LK_Q4_K || format == LK_Q5_K;
}

/// Bits of a weight's number.
static inline int lk_weight_bits(lk_format format) {
    switch (format) {
    case LK_Q5_0:
    case LK_Q5_1:
    case LK_Q5_K: return 5;
    case LK_Q6_K: return 6;
    case LK_Q8_0: return 8;
    default: return 4;
    }
}

/// What a weight's number as it is stored is more than the weight is in steps of its scale.
static inline int lk_offset(lk_format format) {
    return lk_has_minima(format) || format == LK_Q8_0 ? 0 : 1 << (lk_weight_bits(format) - 1);
}

/// Blocks of 32 columns that share an f16 scale.
static inline size_t lk_blocks_of(lk_format format) { return lk_is_k(format) ? 8 : 1; }

/// Blocks of a run.
static inline size_t lk_run_blocks(lk_format format) { return lk_is_k(format) ? 8 : lk_has_minima(format) ? 1 : 2; }

enum { LK_HEAD_BYTES = 64 };

/// Bytes of 32 columns' high bits, and of their whole numbers.
static inline size_t lk_high_bytes(lk_format format) {
    return lk_weight_bits(format) == 8 ? 0 : 64 * (size_t)(lk_weight_bits(format) - 4);
}
static inline size_t lk_block_bytes(lk_format format) { return 64 * (size_t)lk_weight_bits(format); }

/// Bytes of a run's K scales.
static inline size_t lk_scales_bytes(lk_format format) { return lk_is_k(format) ? 256 : 0; }

/// Bytes of a run's part before its blocks, and of a run.
static inline size_t lk_lead_bytes(lk_format format) { return LK_HEAD_BYTES + lk_scales_bytes(format); }
static inline size_t lk_run_bytes(lk_format format) {
    return lk_lead_bytes(format) + lk_run_blocks(format) * lk_block_bytes(format);
}

/// Where the run of block b begins.
static inline size_t lk_run_at(lk_format format, size_t b) { return b / lk_run_blocks(format) * lk_run_bytes(format); }

/// Where the scale and minimum of block b are.
static inline size_t lk_head_at(lk_format format, size_t b) {
    return lk_run_at(format, b) + (lk_run_blocks(format) == 2 ? b % 2 * 32 : 0);
}

/// Where a K format's 16 scales and 16 minima, or 2 times 16 scales, of block b are.
static inline size_t lk_scales_at(lk_format format, size_t b) {
    return lk_run_at(format, b) + LK_HEAD_BYTES + b % 8 * 32;
}

/// Where the numbers of block b are.
static inline size_t lk_block_at(lk_format format, size_t b) {
    return lk_run_at(format, b) + lk_lead_bytes(format) + b % lk_run_blocks(format) * lk_block_bytes(format);
}

#endif

// A packed tile of quantised weights: where things are, for those that write it and those that read it.
//
//   heads    for each scale block (32 or 256 columns): 16 f16 scales; where there are minima, 16 f16 minima as they are
//            added (GGUF's, which K formats subtract, with the other sign). Padded to 64 bytes.
//   blocks   K formats: for every 256 columns first, for each 32 of them, 16 bytes of scales and 16 of minima, or in
//            Q6_K the scales of the two halves. Then for each 32 columns
//              high bits  5 bits: a word a row, bit 8j + g that of column 4g + j
//                         6 bits: two words a row, a half each; bits 8j + 2g and the next those of its column 4g + j
//              nibbles    for each g < 4 a word a row: byte j has column 4g + j below, column 16 + 4g + j above
//            Q8_0: for each g < 8 a word a row, byte j being column 4g + j.
//
// All but the heads lies in the order in which a product reads it. `format` is a constant where these are inlined.
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

static inline size_t lk_head_bytes(lk_format format) { return lk_has_minima(format) ? 64 : 32; }

/// Bytes of 32 columns' high bits, and of their whole numbers.
static inline size_t lk_high_bytes(lk_format format) {
    return lk_weight_bits(format) == 8 ? 0 : 64 * (size_t)(lk_weight_bits(format) - 4);
}
static inline size_t lk_block_bytes(lk_format format) { return 64 * (size_t)lk_weight_bits(format); }

/// Bytes of a K format's scales below, for 256 columns.
static inline size_t lk_scales_bytes(lk_format format) { return lk_is_k(format) ? 256 : 0; }

/// Where the blocks begin.
static inline size_t lk_heads_bytes(lk_format format, size_t cols) {
    return (cols / 32 / lk_blocks_of(format) * lk_head_bytes(format) + 63) / 64 * 64;
}

/// Where the scale and minimum of block b's 32 or 256 columns are.
static inline size_t lk_head_at(lk_format format, size_t b) { return b / lk_blocks_of(format) * lk_head_bytes(format); }

/// Where a K format's 16 scales and 16 minima, or 2 times 16 scales, of block b are.
static inline size_t lk_scales_at(lk_format format, size_t cols, size_t b) {
    size_t all = lk_scales_bytes(format) + 8 * lk_block_bytes(format);
    return lk_heads_bytes(format, cols) + b / 8 * all + b % 8 * 32;
}

/// Where the numbers of block b are.
static inline size_t lk_block_at(lk_format format, size_t cols, size_t b) {
    size_t scales = lk_is_k(format) ? (b / 8 + 1) * lk_scales_bytes(format) : 0;
    return lk_heads_bytes(format, cols) + scales + b * lk_block_bytes(format);
}

#endif

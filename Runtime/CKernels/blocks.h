// A block of a plain row, taken apart: what its bits say, with nothing computed.
#ifndef LOCUM_CKERNELS_BLOCKS_H
#define LOCUM_CKERNELS_BLOCKS_H

#include "tile.h"

/// 32 columns, 256 for the K formats.
struct lk_block_w {
    uint16_t d, m;       // f16 scale; minimum as it is added, -0 if there is none
    uint8_t scale[8][2]; // K formats, for each 32 columns: scale and minimum; Q6_K: the int8 scales of the halves
    uint8_t q[256];      // numbers as they are stored; Q8_0: int8
};

/// Bytes of a plain block; 0 if there is no such format.
size_t lk_plain_bytes(lk_format format);
void lk_read_block(lk_format format, const uint8_t *plain, struct lk_block_w *out);
void lk_write_block(lk_format format, const struct lk_block_w *block, uint8_t *plain);

/// Rounds a row to a plain one of another format. Quantised: where a block holds an infinity or NaN its scale does, too.
/// Returns 0 or LK_UNKNOWN.
int lk_narrow_row(lk_format to, const float *x, size_t cols, uint8_t *dst);
/// Puts a plain row of Q8_0, Q4_0 or Q4_1, whose blocks have the words that a tile has, into its lane of a tile.
void lk_pack_words(lk_format format, const uint8_t *row, size_t cols, size_t lane, uint8_t *tile);

#endif

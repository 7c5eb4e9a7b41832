// Plain rows: widening, checking, converting.
#include "blocks.h"
#include "half.h"
#include "ops.h"

/// A block's values: scale times number, and the minimum, in runs of 16 columns that have the same.
static void widen_block(lk_format format, const struct lk_block_w *block, size_t columns, float *out) {
    float d = lk_from_f16(block->d), m = lk_from_f16(block->m);
    int sign = format == LK_Q8_0 ? 128 : 0, offset = sign + lk_offset(format);
    for (size_t c = 0; c < columns; c += 16) {
        const uint8_t *scales = block->scale[c / 32];
        float scale = d, minimum = m;
        if (format == LK_Q6_K) scale = d * (float)(int8_t)scales[c % 32 / 16];
        else if (lk_is_k(format)) scale = d * (float)scales[0], minimum = m * (float)scales[1];
        for (size_t i = 0; i < 16; i++) out[c + i] = scale * (float)((block->q[c + i] ^ sign) - offset) + minimum;
    }
}

int lk_widen_row(lk_format format, const void *row, size_t cols, float *out) {
    const uint8_t *p = row;
    if (cols % lk_block_columns(format) != 0) return LK_SHAPE;
    switch (format) {
    case LK_F32: memcpy(out, row, cols * 4); return LK_OK;
    case LK_F16: lk_ops()->widen_f16(row, cols, out); return LK_OK;
    case LK_BF16:
        for (size_t i = 0; i < cols; i++) out[i] = lk_from_bf16(lk_load16(p + 2 * i));
        return LK_OK;
    default: break;
    }
    size_t columns = lk_block_columns(format), bytes = lk_plain_bytes(format);
    if (bytes == 0) return LK_UNKNOWN;
    struct lk_block_w block;
    for (; cols != 0; cols -= columns, p += bytes, out += columns) {
        lk_read_block(format, p, &block);
        widen_block(format, &block, columns, out);
    }
    return LK_OK;
}

int lk_check_row(lk_format format, const void *row, size_t cols) {
    const uint8_t *p = row;
    int bad = 0;
    switch (format) {
    case LK_F32:
        for (size_t i = 0; i < cols; i++) bad |= (lk_load32(p + 4 * i) & 0x7f800000u) == 0x7f800000u;
        return bad;
    case LK_F16:
        for (size_t i = 0; i < cols; i++) bad |= (lk_load16(p + 2 * i) & 0x7c00) == 0x7c00;
        return bad;
    case LK_BF16:
        for (size_t i = 0; i < cols; i++) bad |= (lk_load16(p + 2 * i) & 0x7f80) == 0x7f80;
        return bad;
    default: break;
    }
    size_t columns = lk_block_columns(format), bytes = lk_plain_bytes(format);
    if (bytes == 0) return 1;
    for (; cols >= columns; cols -= columns, p += bytes) {
        bad |= (lk_load16(format == LK_Q6_K ? p + 208 : p) & 0x7c00) == 0x7c00;
        if (lk_has_minima(format)) bad |= (lk_load16(p + 2) & 0x7c00) == 0x7c00;
    }
    return bad;
}

int lk_narrow_row(lk_format to, const float *x, size_t cols, uint8_t *dst) {
    switch (to) {
    case LK_F32: memcpy(dst, x, cols * 4); return LK_OK;
    case LK_F16: lk_ops()->narrow_f16(x, cols, dst); return LK_OK;
    case LK_BF16:
        for (size_t i = 0; i < cols; i++) {
            uint16_t h = lk_to_bf16(x[i]);
            memcpy(dst + 2 * i, &h, 2);
        }
        return LK_OK;
    default: break;
    }
    size_t columns = lk_block_columns(to), bytes = lk_plain_bytes(to);
    if (bytes == 0) return LK_UNKNOWN;
    struct lk_block_w block;
    for (; cols != 0; cols -= columns, x += columns, dst += bytes) {
        lk_ops()->quantise_block(to, x, &block);
        lk_write_block(to, &block, dst);
    }
    return LK_OK;
}

int lk_convert_row(lk_format from, const void *src, size_t cols, lk_format to, void *dst, float *scratch) {
    size_t bytes = lk_row_bytes(to, cols);
    if (bytes == 0) return LK_SHAPE;
    if (from == to) {
        memcpy(dst, src, bytes);
        return LK_OK;
    }
    int error = lk_widen_row(from, src, cols, scratch);
    // A NaN must not hide in a quantiser's comparisons, hence the check before as well as after.
    if (error == LK_OK && lk_check_row(LK_F32, scratch, cols)) error = LK_NOT_FINITE;
    if (error == LK_OK) error = lk_narrow_row(to, scratch, cols, dst);
    if (error == LK_OK && lk_check_row(to, dst, cols)) error = LK_NOT_FINITE;
    return error;
}

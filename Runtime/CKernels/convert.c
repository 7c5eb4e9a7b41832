// Plain rows: widening, checking, converting. The quantisers are ggml's references to the bit
// (ggml-quants.c, quantize_row_q8_0_ref and quantize_row_q4_0_ref), so that a model quantised here and one
// quantised there are the same model.
#include "half.h"
#include "include/CKernels.h"
#include "ops.h"

int lk_widen_row(lk_format format, const void *row, size_t cols, float *out) {
    const uint8_t *p = row;
    if (cols % lk_block_columns(format) != 0) return LK_SHAPE;
    switch (format) {
    case LK_F32: memcpy(out, row, cols * 4); return LK_OK;
    case LK_F16: lk_ops()->widen_f16(row, cols, out); return LK_OK;
    case LK_BF16:
        for (size_t i = 0; i < cols; i++) out[i] = lk_from_bf16(lk_load16(p + 2 * i));
        return LK_OK;
    case LK_Q8_0:
        for (; cols != 0; cols -= 32, p += 34, out += 32) {
            float d = lk_from_f16(lk_load16(p));
            for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)p[2 + i];
        }
        return LK_OK;
    case LK_Q4_0:
        for (; cols != 0; cols -= 32, p += 18, out += 32) {
            float d = lk_from_f16(lk_load16(p));
            for (int i = 0; i < 16; i++) {
                out[i] = d * (float)((p[2 + i] & 15) - 8);
                out[i + 16] = d * (float)((p[2 + i] >> 4) - 8);
            }
        }
        return LK_OK;
    }
    return LK_UNKNOWN;
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
    case LK_Q8_0:
    case LK_Q4_0: {
        size_t step = format == LK_Q8_0 ? 34 : 18;
        for (size_t i = 0; i < cols / 32; i++) bad |= (lk_load16(p + step * i) & 0x7c00) == 0x7c00;
        return bad;
    }
    }
    return 1;
}

/// 32 values to a Q8_0 block: 127 steps up to the largest magnitude.
static void quantize_q8_0(const float *x, size_t cols, uint8_t *out) {
    struct lk_block_x block;
    for (; cols != 0; cols -= 32, x += 32, out += 34) {
        lk_ops()->quantize(x, 32, &block);
        uint16_t d = lk_to_f16(block.d); // exact: it was an f16
        memcpy(out, &d, 2);
        memcpy(out + 2, block.q, 32);
    }
}

static uint8_t nibble(float scaled) {
    float shifted = scaled + 8.5f; // in 0.5 ... 16.5 by construction; the guards are for infinities and NaN
    if (!(shifted > 0)) return 0;
    return shifted >= 15 ? 15 : (uint8_t)shifted;
}

/// 32 values to a Q4_0 block: the value of largest magnitude becomes -8 exactly.
static void quantize_q4_0(const float *x, size_t cols, uint8_t *out) {
    for (; cols != 0; cols -= 32, x += 32, out += 18) {
        float largest = 0, extreme = 0;
        for (int i = 0; i < 32; i++) {
            if (largest < __builtin_fabsf(x[i])) largest = __builtin_fabsf(x[i]), extreme = x[i];
        }
        float d = extreme / -8;
        float inverse = d != 0 ? 1 / d : 0;
        uint16_t stored = lk_to_f16(d);
        memcpy(out, &stored, 2);
        for (int i = 0; i < 16; i++) {
            out[2 + i] = (uint8_t)(nibble(x[i] * inverse) | nibble(x[i + 16] * inverse) << 4);
        }
    }
}

static int narrow_row(lk_format to, const float *x, size_t cols, uint8_t *dst) {
    switch (to) {
    case LK_F32: memcpy(dst, x, cols * 4); return LK_OK;
    case LK_F16: lk_ops()->narrow_f16(x, cols, dst); return LK_OK;
    case LK_BF16:
        for (size_t i = 0; i < cols; i++) {
            uint16_t h = lk_to_bf16(x[i]);
            memcpy(dst + 2 * i, &h, 2);
        }
        return LK_OK;
    case LK_Q8_0: quantize_q8_0(x, cols, dst); return LK_OK;
    case LK_Q4_0: quantize_q4_0(x, cols, dst); return LK_OK;
    }
    return LK_UNKNOWN;
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
    if (error == LK_OK) error = narrow_row(to, scratch, cols, dst);
    if (error == LK_OK && lk_check_row(to, dst, cols)) error = LK_NOT_FINITE;
    return error;
}

// The NEON table, and its row operations: those of rows.h, which need no options here, those of halves.h, and `quantize`
// by hand.
#if defined(__aarch64__)
#include "neon.h"

#include <math.h>

#include "../rows.h"
#include "vector.h"

/// As the scalar path's: largest magnitude by its bits.
static void quantize(const float *x, size_t cols, struct lk_block_x *out) {
    for (; cols != 0; cols -= 32, x += 32, out++) {
        uint32x4_t largest = vdupq_n_u32(0);
        for (int i = 0; i < 32; i += 4) {
            uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(load(x + i)), vdupq_n_u32(0x7fffffff));
            largest = vmaxq_u32(largest, magnitude);
        }
        float d = lk_float(vmaxvq_u32(largest)) / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0;
        uint16_t stored = lk_to_f16(d);
        int flat = (stored & 0x7c00) == 0x7c00 || inverse == INFINITY;
        out->d = (stored & 0x7c00) == 0x7c00 ? NAN : lk_from_f16(stored);

        ints sum[2] = {spread(0), spread(0)};
        for (int i = 0; i < 32; i += 8) {
            int16x4_t whole[2];
            for (int h = 0; h < 2; h++) {
                ints value = vcvtaq_s32_f32(vmulq_n_f32(load(x + i + 4 * h), inverse)); // half away from zero
                if (flat) value = spread(0);
                sum[i / 16] = vaddq_s32(sum[i / 16], value);
                whole[h] = vmovn_s32(value);
            }
            vst1_s8(out->q + i, vmovn_s16(vcombine_s16(whole[0], whole[1])));
        }
        for (int h = 0; h < 2; h++) out->half[h] = (int16_t)vaddvq_s32(sum[h]);
        out->sum = out->half[0] + out->half[1];
        out->total = out->d * (float)out->sum;
    }
}

#include "../lanes/halves.h"
#include "../quantise.h"

const struct lk_ops lk_ops_neon = LK_OPS("neon", lk_neon, lk_neon);
#endif

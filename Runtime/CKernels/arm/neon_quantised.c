// Products with quantised weights: dots.h on four vectors of 4. Here both operands are signed, as Q8_0's weights are, and
// as numbers of 4 to 6 bits may be taken.
#if defined(__aarch64__)
#include "neon.h"

#pragma clang attribute push(LK_DOTPROD, apply_to = function)
#define TOGETHER 3
#include "vector.h"

INLINE ints add_products(ints sum, ints a, ints b) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}

#include "../lanes/dots.h"

LK_QUANTISED(, lk_neon)

#pragma clang attribute pop
#endif

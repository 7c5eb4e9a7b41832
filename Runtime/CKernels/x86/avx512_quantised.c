// Products with quantised weights: dots.h on vectors of 16.
#if defined(__x86_64__)
#include "avx512.h"

#pragma clang attribute push(LK_AVX512, apply_to = function)
#define LANES 16
#define TOGETHER 8
#include "vector.h"

INLINE ints add_products(ints sum, ints a, ints b) { return _mm512_dpbusd_epi32(sum, a, b); }

#include "../lanes/dots.h"

LK_QUANTISED(, lk_avx512)

#pragma clang attribute pop
#endif

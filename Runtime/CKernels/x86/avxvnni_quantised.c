// Products with quantised weights: dots.h on two vectors of 8, for processors without AVX-512.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVXVNNI, apply_to = function)
#define LANES 8
#define TOGETHER 3
#include "vector.h"

INLINE ints add_products(ints sum, ints a, ints b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }

#include "../lanes/dots.h"

LK_QUANTISED(, lk_avxvnni)

#pragma clang attribute pop
#endif

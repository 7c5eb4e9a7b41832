// Products with F32, F16 and BF16 weights: float.h on two vectors of 8.
#if defined(__x86_64__)
#include "avx2.h"

#pragma clang attribute push(LK_AVX2, apply_to = function)
#define LANES 8
#define ALONE 4
#define TOGETHER 6
#include "vector.h"

#include "../lanes/float.h"

LK_FLOATS(, lk_avx2)

#pragma clang attribute pop
#endif

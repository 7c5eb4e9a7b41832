// Products with F32, F16 and BF16 weights: float.h on one vector of 16.
#if defined(__x86_64__)
#include "avx512.h"

#pragma clang attribute push(LK_AVX512, apply_to = function)
#define LANES 16
#define ALONE 8
#define TOGETHER 8
#include "vector.h"

#include "../lanes/float.h"

LK_FLOATS(, lk_avx512)

#pragma clang attribute pop
#endif

// Products with F32, F16 and BF16 weights: float.h on four vectors of 4.
#if defined(__aarch64__)
#include "neon.h"

#define ALONE 4
#define TOGETHER 6
#include "vector.h"

#include "../lanes/float.h"

LK_FLOATS(, lk_neon)
#endif

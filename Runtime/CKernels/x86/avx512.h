// What the AVX-512 files share; avx2.h says why every function in them but these is `static`.
#ifndef LOCUM_CKERNELS_AVX512_H
#define LOCUM_CKERNELS_AVX512_H

#include "../fetch.h"
#include "../ops.h"

#include <immintrin.h>

#define LK_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

lk_matmul_fn LK_FLOAT_NAMES(lk_avx512), LK_QUANTISED_NAMES(lk_avx512);

#endif

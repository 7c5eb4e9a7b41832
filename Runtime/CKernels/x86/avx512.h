// What the AVX-512 files share; avx2.h says why every function in them but these is `static`.
#ifndef LOCUM_CKERNELS_AVX512_H
#define LOCUM_CKERNELS_AVX512_H

#include "../ops.h"
#include "fetch.h"

#define LK_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

lk_matmul_fn lk_avx512_f32, lk_avx512_f16, lk_avx512_bf16, lk_avx512_q8_0, lk_avx512_q4_0;

#endif

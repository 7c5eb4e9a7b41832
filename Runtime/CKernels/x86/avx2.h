// What the AVX2 files share. They are compiled for a baseline CPU like everything else; the pragma at each
// file's head lets their functions use AVX2, FMA and F16C, and dispatch.c sees to it that they are called only
// where those exist. No file may define such a function without `static`: another file's copy of it, built for
// the baseline, could be the one the linker keeps.
#ifndef LOCUM_CKERNELS_AVX2_H
#define LOCUM_CKERNELS_AVX2_H

#include "../ops.h"
#include "fetch.h"

#define LK_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LK_AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))

lk_matmul_fn lk_avx2_f32, lk_avx2_f16, lk_avx2_bf16, lk_avx2_q8_0, lk_avx2_q4_0;
lk_matmul_fn lk_avxvnni_q8_0, lk_avxvnni_q4_0;

#endif

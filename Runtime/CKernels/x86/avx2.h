// What the AVX2 files share. They are compiled for a baseline CPU like everything else; the pragma at each
// file's head lets their functions use AVX2, FMA and F16C, and dispatch.c sees to it that they are called only
// where those exist. No file may define such a function without `static`: another file's copy of it, built for
// the baseline, could be the one the linker keeps.
#ifndef LOCUM_CKERNELS_AVX2_H
#define LOCUM_CKERNELS_AVX2_H

#include "../fetch.h"
#include "../ops.h"

#include <immintrin.h>

#define LK_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LK_AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))

lk_matmul_fn LK_FLOAT_NAMES(lk_avx2), LK_QUANTISED_NAMES(lk_avx2), LK_QUANTISED_NAMES(lk_avxvnni);

#endif

// What the NEON files share; ../x86/avx2.h says why every function in them but these is `static`.
#ifndef LOCUM_CKERNELS_NEON_H
#define LOCUM_CKERNELS_NEON_H

#include "../fetch.h"
#include "../ops.h"

#include <arm_neon.h>

#define LK_DOTPROD __attribute__((target("dotprod")))

lk_matmul_fn LK_FLOAT_NAMES(lk_neon), LK_QUANTISED_NAMES(lk_neon);

#endif

// Asking for weights before they are needed, for all paths but the scalar one.
#ifndef LOCUM_CKERNELS_FETCH_H
#define LOCUM_CKERNELS_FETCH_H

#include <stdint.h>

/// So few rows of activations compute little enough beside a tile's bytes that the CPU's own prefetcher runs ahead; with
/// more of them weights have to be asked for.
enum { LK_FEW = 2 };

/// Asks for weights two small pages ahead, into the second cache: on the way into the first one a line occupies one of the
/// few buffers for what that misses as long as memory takes. On one core of a Zen 4 that reads 27 GB/s, four rows with Q4_0,
/// Q8_0, Q4_K: 22, 20, 20 GB/s; one page ahead 19, 20, 17; without 14, 23, 11. Beyond a mapping's end it does nothing.
static inline void lk_fetch_ahead(const uint8_t *p) {
    __builtin_prefetch((const void *)((uintptr_t)p + 8192), 0, 2);
}

#endif

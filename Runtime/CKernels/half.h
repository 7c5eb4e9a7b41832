// F16 and BF16 by bits, as the hardware's conversions do them: to nearest even, subnormals kept, NaN quieted.
// Sources may be unaligned (a safetensors file aligns nothing), hence the memcpy loads.
#ifndef LOCUM_CKERNELS_HALF_H
#define LOCUM_CKERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t lk_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float lk_float(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static inline uint16_t lk_load16(const void *p) {
    uint16_t u;
    memcpy(&u, p, 2);
    return u;
}

static inline uint32_t lk_load32(const void *p) {
    uint32_t u;
    memcpy(&u, p, 4);
    return u;
}

static inline float lk_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    if (exponent == 31) return lk_float(sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0));
    if (exponent != 0) return lk_float(sign | (exponent + 112) << 23 | fraction << 13);
    return lk_float(sign | lk_bits((float)fraction * 0x1p-24f));
}

static inline uint16_t lk_to_f16(float x) {
    uint32_t bits = lk_bits(x), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); // 65520 and more round to infinity
    if (magnitude < 0x38800000u) {
        // Subnormal: in [0.5, 1) the last bit of an f32 is worth 2^-24, an f16 subnormal's unit.
        return (uint16_t)(sign | (lk_bits(lk_float(magnitude) + 0.5f) - 0x3f000000u));
    }
    magnitude += 0xfff + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

static inline float lk_from_bf16(uint16_t h) { return lk_float((uint32_t)h << 16); }

static inline uint16_t lk_to_bf16(float x) {
    uint32_t bits = lk_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#endif

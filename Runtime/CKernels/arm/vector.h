// A vector of 4 floats or 32-bit integers, and what is done with it, under the including file's target options.
#define INLINE static inline __attribute__((always_inline))
#define LANES 4

/// What `factors` adds to Q8_0's weights, which may stay signed here.
enum { FACTORS_OFFSET = 0 };

typedef float32x4_t vector;

INLINE vector zeros(void) { return vdupq_n_f32(0); }
INLINE vector broadcast(const float *p) { return vld1q_dup_f32(p); }
INLINE vector multiply(vector a, vector b) { return vmulq_f32(a, b); }
INLINE vector multiply_add(vector a, vector b, vector c) { return vfmaq_f32(c, a, b); }
INLINE vector load(const float *p) { return vld1q_f32(p); }
INLINE void store(float *p, vector v) { vst1q_f32(p, v); }
INLINE uint16x4_t load_4_halves(const uint8_t *p) {
    uint16x4_t halves;
    __builtin_memcpy(&halves, p, 8);
    return halves;
}
INLINE vector load_halves(const uint8_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_4_halves(p))); }
INLINE void store_halves(uint8_t *p, vector v) {
    float16x4_t halves = vcvt_f16_f32(v);
    __builtin_memcpy(p, &halves, 8);
}
INLINE vector load_bf16(const uint8_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(load_4_halves(p), 16)); }

typedef int32x4_t ints;

INLINE ints spread(int32_t value) { return vdupq_n_s32(value); }
INLINE ints load_ints(const uint8_t *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
INLINE ints factors(ints weights) { return weights; }
INLINE ints low_nibbles(ints both) { return vandq_s32(both, vdupq_n_s32(0x0f0f0f0f)); }
INLINE ints high_nibbles(ints both) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(both), 4)); }
/// Where the mask has ones, the bits of `source` moved right (left if negative), beside those of `low`.
INLINE ints with_bits(ints low, ints source, int right, char mask) {
    uint32x4_t moved = vshlq_u32(vreinterpretq_u32_s32(source), vdupq_n_s32(-right));
    return vorrq_s32(low, vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_u32(moved), vdupq_n_u8((uint8_t)mask))));
}
INLINE vector to_floats(ints v) { return vcvtq_f32_s32(v); }
INLINE int8x8_t load_4_bytes(const uint8_t *p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, 4);
    return vreinterpret_s8_s32(vdup_n_s32(bytes));
}
INLINE vector load_bytes(const uint8_t *p) {
    uint16x4_t words = vget_low_u16(vmovl_u8(vreinterpret_u8_s8(load_4_bytes(p))));
    return vcvtq_f32_u32(vmovl_u16(words));
}
INLINE vector load_signed_bytes(const uint8_t *p) {
    return to_floats(vmovl_s16(vget_low_s16(vmovl_s8(load_4_bytes(p)))));
}

// F16 rows and the weighing of values, for any width of vectors: each path includes this file after it has said what
// a vector is (`vector`, of LANES floats; load, load_halves, store, store_halves, zeros, broadcast, multiply_add).
static void widen_f16(const void *src, size_t n, float *out) {
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(out + i, load_halves(p + 2 * i));
    }
    for (; i < n; i++) out[i] = lk_from_f16(lk_load16(p + 2 * i));
}

static void narrow_f16(const float *x, size_t n, void *out) {
    uint8_t *p = out;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store_halves(p + 2 * i, load(x + i));
    }
    for (; i < n; i++) {
        uint16_t h = lk_to_f16(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

INLINE vector values(int halves, const void *v, size_t at) {
    return halves ? load_halves((const uint8_t *)v + 2 * at) : load((const float *)v + at);
}

/// `count` vectors of elements from element d on, over all positions.
INLINE void weigh_some(int halves, int count, const void *v, size_t head_dim, size_t positions, const float *weight,
                       float *out, size_t d) {
    vector sum[8];
    for (int i = 0; i < count; i++) sum[i] = zeros();
    for (size_t p = 0; p < positions; p++) {
        vector factor = broadcast(weight + p);
#pragma clang loop unroll(full)
        for (int i = 0; i < count; i++) {
            sum[i] = multiply_add(factor, values(halves, v, p * head_dim + d + LANES * (size_t)i), sum[i]);
        }
    }
    for (int i = 0; i < count; i++) store(out + d + LANES * i, sum[i]);
}

INLINE void weigh(int halves, const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    size_t d = 0;
    for (; d + 8 * LANES <= head_dim; d += 8 * LANES) weigh_some(halves, 8, v, head_dim, positions, weight, out, d);
    for (; d + 4 * LANES <= head_dim; d += 4 * LANES) weigh_some(halves, 4, v, head_dim, positions, weight, out, d);
    for (; d + LANES <= head_dim; d += LANES) weigh_some(halves, 1, v, head_dim, positions, weight, out, d);
    for (; d < head_dim; d++) {
        out[d] = 0;
        for (size_t p = 0; p < positions; p++) {
            size_t at = p * head_dim + d;
            float value = halves ? lk_from_f16(((const uint16_t *)v)[at]) : ((const float *)v)[at];
            out[d] = __builtin_fmaf(weight[p], value, out[d]);
        }
    }
}

static void weigh_f32(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    weigh(0, v, head_dim, positions, weight, out);
}

static void weigh_f16(const void *v, size_t head_dim, size_t positions, const float *weight, float *out) {
    weigh(1, v, head_dim, positions, weight, out);
}

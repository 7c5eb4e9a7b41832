// Attention over one kv head's cache. The keys are a packed matrix whose rows are positions, so the scores of
// a group of query heads are one matrix product that reads each key once; the values lie plain, as a position's
// weight multiplies a whole row of them. Fresh keys and values are read back as stored: replaying a sequence in
// other chunks gives the same bits.
#include "half.h"
#include "include/CKernels.h"
#include "ops.h"

enum { HEADS_AT_ONCE = 8 };

void lk_kv_store(lk_kv kv, void *k_cache, void *v_cache, size_t head_dim, size_t position, const float *k,
                 const float *v) {
    if (kv == LK_KV_F32) {
        float *key = (float *)((uint8_t *)k_cache + position / 16 * lk_tile_bytes(LK_F32, head_dim)) + position % 16;
        for (size_t d = 0; d < head_dim; d++) key[d * 16] = k[d];
        memcpy((float *)v_cache + position * head_dim, v, head_dim * 4);
        return;
    }
    if (kv == LK_KV_Q8_0) {
        uint8_t row[LK_MOST_HEAD_DIM / 32 * 34];
        lk_narrow_row(LK_Q8_0, k, head_dim, row);
        lk_pack_words(
            LK_Q8_0, row, head_dim, position % 16,
            (uint8_t *)k_cache + position / 16 * lk_tile_bytes(LK_Q8_0, head_dim));
        lk_narrow_row(LK_Q8_0, v, head_dim, (uint8_t *)v_cache + position * lk_row_bytes(LK_Q8_0, head_dim));
        return;
    }
    uint16_t *key = (uint16_t *)((uint8_t *)k_cache + position / 16 * lk_tile_bytes(LK_F16, head_dim)) + position % 16;
    uint16_t some[32];
    for (size_t d = 0; d < head_dim; d += 32) {
        size_t count = head_dim - d < 32 ? head_dim - d : 32;
        lk_ops()->narrow_f16(k + d, count, some);
        for (size_t i = 0; i < count; i++) key[(d + i) * 16] = some[i];
    }
    lk_ops()->narrow_f16(v, head_dim, (uint16_t *)v_cache + position * head_dim);
}

void lk_attention(lk_kv kv, const void *k_cache, const void *v_cache, size_t head_dim, size_t positions,
                  const float *q, size_t heads, float scale, float *scores, float *out) {
    const struct lk_ops *ops = lk_ops();
    lk_matmul_fn *product = ops->matmul[lk_kv_format(kv)];
    size_t stride = (positions + 15) / 16 * 16;
    struct lk_block_x rounded[HEADS_AT_ONCE][LK_MOST_HEAD_DIM / 32];
    for (size_t first = 0; first < heads; first += HEADS_AT_ONCE) {
        const void *queries[HEADS_AT_ONCE];
        float *rows[HEADS_AT_ONCE];
        size_t count = heads - first < HEADS_AT_ONCE ? heads - first : HEADS_AT_ONCE;
        for (size_t h = 0; h < count; h++) {
            queries[h] = q + (first + h) * head_dim;
            rows[h] = scores + (first + h) * stride;
            if (kv != LK_KV_Q8_0) continue;
            ops->quantize(queries[h], head_dim, rounded[h]);
            queries[h] = rounded[h];
        }
        product(k_cache, positions, head_dim, 0, positions, queries, (int)count, rows);
        for (size_t h = 0; h < count; h++) {
            ops->softmax(rows[h], positions, scale);
            ops->weigh[kv](v_cache, head_dim, positions, rows[h], out + (first + h) * head_dim);
        }
    }
}

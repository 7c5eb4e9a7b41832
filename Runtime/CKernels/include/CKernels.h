// Kernels for Mixture-of-Experts transformers on CPUs.
//
// One canonical order of arithmetic: every output is one chain of fused multiply-adds over ascending columns
// (over ascending 32-column blocks for quantised weights, the integer sum inside a block being exact), and
// every reduction runs over 16 strided partial sums that are folded 8, 4, 2, 1. That order does not depend on
// the width of the CPU's vectors, on how many rows are computed together or on how rows are split among
// threads, so every path gives the same bits and a row's result never depends on its company. (The bits of a
// NaN alone are not promised.)
//
// Nothing here allocates, does I/O, or keeps state but the choice of instruction set: callers give scratch.
#ifndef LOCUM_CKERNELS_H
#define LOCUM_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

// ---- instruction set -----------------------------------------------------------------------------------------

/// Chooses the widest path that the CPU has, or the one that LOCUM_ISA (scalar, avx2, avxvnni, avx512, neon) names if the
/// CPU has it. Before the first call the scalar path is in force, which is right everywhere and slow.
void lk_init(void);
/// Puts the named path in force, the widest for NULL; returns 0, or LK_UNKNOWN if it does not exist or the CPU lacks it.
int lk_select(const char *isa);
/// The name of the path in force.
const char *lk_isa(void);

// ---- formats -------------------------------------------------------------------------------------------------

/// A weight's format. Plain rows are those of GGUF (ggml-common.h), blocks of 32 or, for the K formats, 256 columns:
///
///   Q8_0        d*q                    q int8
///   Q4_0  Q5_0  d*(q-8)  d*(q-16)      q of 4 and of 5 bits
///   Q4_1  Q5_1  d*q + m                q of 4 and of 5 bits
///   Q4_K  Q5_K  d*s*q - m*t            q of 4 and of 5 bits; s and t, of 6 bits, for 32 columns
///   Q6_K        d*s*(q-32)             q of 6 bits; s, int8, for 16 columns
///
/// where d and m are a block's f16 scale and minimum.
typedef enum lk_format {
    LK_F32 = 0,
    LK_F16 = 1,
    LK_BF16 = 2,
    LK_Q8_0 = 3,
    LK_Q4_0 = 4,
    LK_Q4_1 = 5,
    LK_Q5_0 = 6,
    LK_Q5_1 = 7,
    LK_Q4_K = 8,
    LK_Q5_K = 9,
    LK_Q6_K = 10,
} lk_format;

enum {
    LK_OK = 0,
    LK_UNKNOWN = 1,    // no such format or instruction set
    LK_SHAPE = 2,      // columns are not a multiple of the format's block
    LK_NOT_FINITE = 3, // the result holds an infinity or NaN (the source did, or it is too large for the format)
};

/// Columns of a block, which share an f16 scale: 32 or 256 for quantised formats, else 1.
size_t lk_block_columns(lk_format format);
/// Bytes of one plain row; 0 if the columns do not fit the format or the size overflows.
size_t lk_row_bytes(lk_format format, size_t cols);
/// Bytes of one packed tile of 16 rows, a multiple of 64; 0 as above.
///
/// Float formats: for each column, the 16 weights of the tile's rows. Quantised formats: for every 32, 64 or 256 columns a
/// line with the 16 rows' f16 scales and, where there are minima, these as they are added; then their blocks, numbers in
/// groups of 4 columns of each of the 16 rows. So a SIMD lane is an output row, a 32-bit lane holds 4 columns of it, and a
/// tile is read from its first byte to its last. tile.h has the rest.
size_t lk_tile_bytes(lk_format format, size_t cols);
/// Bytes of a packed matrix: whole tiles, the last one padded with zero rows; 0 as above.
size_t lk_packed_bytes(lk_format format, size_t rows, size_t cols);

// ---- conversion (plain rows may lie at any address) ----------------------------------------------------------

/// Widens a plain row (cols,) to f32. Exact but for the minimum, whose addition rounds once.
/// Returns 0, LK_UNKNOWN or LK_SHAPE.
int lk_widen_row(lk_format format, const void *row, size_t cols, float *out);
/// Nonzero if a plain row holds an infinity or NaN, as value or as scale.
int lk_check_row(lk_format format, const void *row, size_t cols);
/// Converts a plain row. Same format: copies the bits. Otherwise widens to f32 and rounds: F16 and BF16 to
/// nearest even, formats with blocks of 32 as ggml's quantize_row_*_ref, the K formats to the least squares that a
/// search finds. `scratch` holds cols floats.
/// Returns 0 or an error above; the destination is then undefined.
int lk_convert_row(lk_format from, const void *src, size_t cols, lk_format to, void *dst, float *scratch);
/// Floats of scratch that lk_pack_tile needs.
size_t lk_pack_scratch_floats(size_t cols);
/// Packs 16 plain rows (NULL: a row of zeros) into one tile, converting as lk_convert_row does.
int lk_pack_tile(lk_format from, const void *const rows[16], size_t cols, lk_format to, void *tile, float *scratch);

/// Bytes of a tile in a shard of layout version 1; 0 as lk_tile_bytes.
size_t lk_older_tile_bytes(lk_format format, size_t cols);
/// Makes a tile of such a one: the same numbers in other places.
void lk_renew_tile(lk_format format, const void *older, size_t cols, void *tile);

// ---- matrix product ------------------------------------------------------------------------------------------

/// Bytes of an activation row made ready for weights of `format`; 0 as above.
size_t lk_prepared_bytes(lk_format format, size_t cols);
/// Makes x (cols,) ready. Float formats: copies it (x itself may be given to lk_matmul instead). Quantised
/// formats: rounds it to int8 per 32 columns as ggml's quantize_row_q8_0_ref; a block that holds an infinity
/// or NaN, or is too large for an f16 scale, becomes NaN. `out` is 4-byte aligned.
void lk_prepare(lk_format format, const float *x, size_t cols, void *out);
/// y[i][r] = sum over c of W[r][c] * x_i[c], for r in row_begin..<row_end and i in 0..<n.
///
/// A step of the chain over blocks of 32 columns, with x's scale e, its int8 p, and a weight's number q less its offset:
/// sum = fma((d*s)*e, sum of q*p, sum), and with minima then sum = fma(-(m*t), e * sum of p, sum), where s and t are 1 if
/// the format has none, and Q4_1 and Q5_1 add their minimum. Q6_K: fma(d*e, sum of s*q*p, sum), that integer rounded to
/// f32. (d*s)*e is rounded, too; d*s, m*t and e * sum of p are exact.
/// W (rows, cols) is packed and 32-byte aligned; row_begin is a multiple of 16; row_end too, or it is `rows`.
/// y[i] points at row 0 of the result, whatever row_begin.
void lk_matmul(lk_format format, const void *packed, size_t rows, size_t cols, size_t row_begin, size_t row_end,
               const void *const *prepared, int n, float *const *y);

// ---- rows of activations -------------------------------------------------------------------------------------

/// y[i] += x[i]: a bias or a residual.
void lk_add(float *y, const float *x, size_t n);
/// y[i] = fma(a, x[i], y[i]): the weighted sum of experts.
void lk_axpy(float *y, float a, const float *x, size_t n);
/// out[i] = w[i] * (x[i] / sqrt(mean of squares + eps)). `out` may be `x`.
void lk_rmsnorm(const float *x, const float *w, float eps, size_t n, float *out);
/// x = softmax(x), in place.
void lk_softmax(float *x, size_t n);
/// log of the sum of exp(x[i]), summed in double: a log-probability is x[i] minus this.
double lk_log_sum_exp(const float *x, size_t n);
/// out[i] = silu(gate[i]) * up[i], silu(g) = g / (1 + exp(-g)). `out` may be `gate` or `up`.
void lk_silu_mul(const float *gate, const float *up, size_t n, float *out);
/// 1 / (1 + exp(-x)).
float lk_sigmoid(float x);

// ---- functions of one number (glibc's differ by CPU) ---------------------------------------------------------

/// e^x within 1 ulp of f32.
float lk_expf(float x);
/// e^x and log x within 1 ulp of f64; log of 0 is -infinity, of a negative number NaN.
double lk_exp(double x);
double lk_log(double x);
/// sin x and cos x within 2^-52 for |x| <= 2^20; NaN beyond.
double lk_sin(double x);
double lk_cos(double x);
/// x^y for x > 0 as exp(y log x): relative error below (|y log x| + 2) * 2^-52. x^0 is 1; else NaN for x <= 0.
double lk_pow(double x, double y);

// ---- positions -----------------------------------------------------------------------------------------------

/// cos and sin (pairs,) of position * frequency, that angle rounded to f32 first, as the models were trained, times scale.
/// Frequencies (pairs,) are at most 1, positions below 2^20.
void lk_rope_table(const float *frequencies, size_t pairs, float scale, size_t position, float *cos, float *sin);
/// Rotates the pairs (i, i + head_dim/2) of x (head_dim,) in place.
void lk_rope(float *x, size_t head_dim, const float *cos, const float *sin);

// ---- attention -----------------------------------------------------------------------------------------------

/// What K and V are stored as.
typedef enum lk_kv { LK_KV_F32 = 0, LK_KV_F16 = 1, LK_KV_Q8_0 = 2 } lk_kv;

/// Longest head whose keys and values may be Q8_0; they are multiples of 32 then.
enum { LK_MOST_HEAD_DIM = 1024 };

/// Bytes of one kv head's keys: a packed matrix (capacity, head_dim), so that 16 positions are one tile. 0 if the head does
/// not fit the format or the size overflows.
size_t lk_k_bytes(lk_kv kv, size_t head_dim, size_t capacity);
/// Bytes of one kv head's values: plain (capacity, head_dim).
size_t lk_v_bytes(lk_kv kv, size_t head_dim, size_t capacity);
/// Stores k and v (head_dim,) at a position below the capacity: F16 rounded to nearest even, Q8_0 as lk_prepare rounds.
void lk_kv_store(lk_kv kv, void *k_cache, void *v_cache, size_t head_dim, size_t position, const float *k,
                 const float *v);
/// out = softmax(scale * q K^T) V for `heads` query heads that share one kv head, over its first `positions`
/// positions. q and out are (heads, head_dim); `scores` is scratch of lk_scores_floats(positions, heads). With Q8_0 keys q
/// is rounded as they are; a position's weight is multiplied by the scale of each 32 of its values first.
/// The caches are 32-byte aligned. A head's result does not depend on the others.
void lk_attention(lk_kv kv, const void *k_cache, const void *v_cache, size_t head_dim, size_t positions,
                  const float *q, size_t heads, float scale, float *scores, float *out);
/// Floats of scratch: positions rounded up to 16, times heads.
size_t lk_scores_floats(size_t positions, size_t heads);

#endif

// exp, log, sin, cos and pow in double, and their users that are called once a token. Only +, -, *, / and
// comparisons: IEEE 754 fixes the result of each, so the bits are the same on every machine; glibc's functions
// pick other code by CPU. Ranges are reduced with constants split so that their products are exact; the
// series are Taylor's, long enough that the first term left out is below 2^-56.
#include "include/CKernels.h"

#include <math.h>
#include <string.h>

static const double LN2_HI = 0x1.62e42fee00000p-1; // 33 bits, so that k * LN2_HI is exact
static const double LN2_LO = 0x1.a39ef35793c76p-33;

static double two_to(int k) { // normal results only
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

/// To the nearest integer, ties to even, for |x| < 2^51.
static double nearest(double x) { return x + 0x1.8p52 - 0x1.8p52; }

double lk_exp(double x) {
    if (x != x) return x;
    if (x > 709.8) return INFINITY;
    if (x < -745.2) return 0;
    double k = nearest(x * 0x1.71547652b82fep0);
    double hi = x - k * LN2_HI, lo = k * LN2_LO, r = hi - lo; // |r| <= ln2 / 2
    // e^r - 1 - r = r^2 (1/2 + r/6 + ...)
    static const double inverse[] = {1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
                                     1.0 / 5040,    1.0 / 40320,    1.0 / 362880,    1.0 / 3628800,
                                     1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
    double series = 0;
    for (int i = 10; i >= 0; i--) series = series * r + inverse[i];
    series = (series * r + 0.5) * (r * r);
    double y = 1 + (hi + (series - lo));
    int half = (int)k / 2; // in two steps: the result may be subnormal, or 2^1024 times less than one
    return y * two_to(half) * two_to((int)k - half);
}

double lk_log(double x) {
    if (x != x || x == INFINITY) return x;
    if (x == 0) return -INFINITY;
    if (x < 0) return NAN;
    int k = 0;
    if (x < 0x1p-1022) x *= 0x1p54, k = -54;
    uint64_t bits;
    memcpy(&bits, &x, 8);
    k += (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    memcpy(&x, &bits, 8);
    if (x > 0x1.6a09e667f3bcdp0) x *= 0.5, k++; // now in sqrt(1/2) ... sqrt(2)
    // log(1 + f) = 2 atanh(s), s = f / (2 + f); taking f - f^2/2 out leaves a small correction
    double f = x - 1, s = f / (2 + f), z = s * s, half = 0.5 * f * f, series = 0;
    for (int i = 21; i >= 3; i -= 2) series = (series + 2.0 / i) * z;
    return k * LN2_HI - ((half - (s * (half + series) + k * LN2_LO)) - f);
}

/// x = quadrant * pi/2 + r, |r| <= pi/4; pi/2 in three parts of 33 bits.
static double reduce(double x, int *quadrant) {
    double n = nearest(x * 0x1.45f306dc9c883p-1);
    double r = x - n * 0x1.921fb54400000p0;
    r -= n * 0x1.0b4611a600000p-34;
    r -= n * 0x1.3198a2e037073p-69;
    *quadrant = (int)n & 3;
    return r;
}

static double sin_series(double r) {
    double z = r * r, series = 0;
    for (int i = 18; i >= 2; i -= 2) series = (-1 - series) * z / (double)(i * (i + 1)); // Horner over i!
    return r + r * series;
}

static double cos_series(double r) {
    double z = r * r, series = 0;
    for (int i = 19; i >= 3; i -= 2) series = (-1 - series) * z / (double)(i * (i + 1));
    double half = 0.5 * z, w = 1 - half; // 1 - z/2 + z/2 * (z/12 - ...), with what `w` lost put back
    return w + (((1 - w) - half) - half * series);
}

static double quarter(double x, int turn) {
    if (!(fabs(x) <= 0x1p20)) return NAN;
    int quadrant;
    double r = reduce(x, &quadrant);
    switch ((quadrant + turn) & 3) {
    case 0: return sin_series(r);
    case 1: return cos_series(r);
    case 2: return -sin_series(r);
    default: return -cos_series(r);
    }
}

double lk_sin(double x) { return quarter(x, 0); }

double lk_cos(double x) { return quarter(x, 1); }

double lk_pow(double x, double y) {
    if (y == 0) return 1;
    return x > 0 ? lk_exp(y * lk_log(x)) : NAN;
}

void lk_rope_table(const float *frequencies, size_t pairs, float scale, size_t position, float *cos, float *sin) {
    for (size_t i = 0; i < pairs; i++) {
        float angle = (float)position * frequencies[i];
        cos[i] = (float)lk_cos((double)angle) * scale;
        sin[i] = (float)lk_sin((double)angle) * scale;
    }
}

void lk_rope(float *x, size_t head_dim, const float *cos, const float *sin) {
    size_t half = head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

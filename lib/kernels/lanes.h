/* lanes.h - the shape of every reduction, the same on all instruction sets, and the slow paths that they share.
 *
 * Element i of an array belongs to lane i % 16. A lane sums in f32 and is flushed to its f64 twin every 8 steps (128
 * elements of the array), where it starts from zero again: at most 7 inexact additions, so a flushed sum of terms t
 * is off by at most 7 u sum|t|, u = 2^-24, and the f64 part adds nothing that matters. The 16 f64 lanes are folded in
 * halves: lane l with l + 8, then l + 4, l + 2, l + 1.
 * Lanes without an element in the last step get a term of +0, which changes no sum (no lane is ever -0).
 * min and max mean `a < b ? a : b` and `a > b ? a : b`: with a NaN the second operand.
 * Products and sums are rounded one by one: never fused (-ffp-contract=off). The bits of a NaN result are not promised;
 * that it is a NaN is. */
#ifndef QD_LANES_H
#define QD_LANES_H

#include "kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must round to float");

enum {
    QD_STEP = 16,              /* lanes */
    QD_FLUSH = 8 * QD_STEP,    /* elements between flushes */
    QD_FLUSH_ROWS = 8,         /* rows between flushes of column sums */
    QD_BLOCK = 32 * QD_FLUSH,  /* elements that power_sums looks at before it decides how: 16 KiB, stays in L1 */
    QD_GRIDS = 64              /* grids that grid_errors serves in one pass */
};

/* 1.5 * 2^23: adding and subtracting it rounds |t| <= 2^22 to the nearest integer, ties to even, never -0. */
#define QD_ROUND 12582912.0f

/* exp: range, and ln 2 in two parts, of which the first has 9 bits so that its product with |n| <= 127 is exact. Below
 * QD_EXP_LOW the result is 0, above QD_EXP_HIGH +inf. */
#define QD_EXP_LOW (-87.33654f)
#define QD_EXP_HIGH 88.36f
#define QD_LOG2E 1.44269504f
#define QD_LN2_HIGH 0.693359375f
#define QD_LN2_LOW (-2.12194440e-4f)
/* exp(r) ~ 1 + r + r^2 p(r) on |r| <= ln(2)/2: Moshier's minimax coefficients (Cephes, expf), highest power first. */
#define QD_EXP_P0 1.9875691500e-4f
#define QD_EXP_P1 1.3981999507e-3f
#define QD_EXP_P2 8.3334519073e-3f
#define QD_EXP_P3 4.1665795894e-2f
#define QD_EXP_P4 1.6666665459e-1f
#define QD_EXP_P5 5.0000001201e-1f

/* 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)), which does not cancel; -2 * 0.79788456 and the cubic term of BLOOM's GELU. */
#define QD_GELU_SCALE (-1.59576912f)
#define QD_GELU_CUBIC 0.044715f

static inline uint32_t qd_float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float qd_bits_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* In this order: a NaN in the first argument gives the second. */
static inline float qd_min(float a, float b) {
    return a < b ? a : b;
}

static inline float qd_max(float a, float b) {
    return a > b ? a : b;
}

/* Folds 16 f64 lanes. */
static inline double qd_fold(const double lanes[QD_STEP]) {
    double a[QD_STEP];
    memcpy(a, lanes, sizeof a);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) a[l] += a[l + half];
    }
    return a[0];
}

/* Whether sums of d, d^2, d^3, d^4 in f32 are safe, from the largest |d| as bits. Above 2^30, 8 d^4 nears the largest
 * float; NaN and infinity are above too. Below 2^-24, d^4 nears the denormals: with the largest |d| at least that,
 * underflow of the others costs a block at most 4096 * 2^-150 beside 2^-96. */
static inline bool qd_powers_fit(uint32_t max_bits) {
    return max_bits == 0 || (max_bits >= 0x33800000u && max_bits < 0x4e800000u);
}

/* The same for d^2 alone: 2^-50 to 2^60. */
static inline bool qd_squares_fit(uint32_t max_bits) {
    return max_bits == 0 || (max_bits >= 0x26800000u && max_bits < 0x5d800000u);
}

/* power_sums between blocks. */
typedef struct qd_power_state {
    double sums[4][QD_STEP];
    double min, max;
    uint64_t n_finite;
} qd_power_state;

void qd_power_state_init(qd_power_state *state);
/* One block in f64, whatever it holds; one object code for all instruction sets. */
void qd_power_block_slow(qd_power_state *state, const float *x, size_t n, float pivot);
void qd_power_state_finish(const qd_power_state *state, qd_power_sums *out);

/* At most 8 rows of at most 16 columns in f64, added to sums: n_powers rows of `pitch` doubles, from first_power up. */
void qd_column_powers_slow(const float *w, size_t n_rows, size_t n_columns, size_t stride, unsigned first_power,
                           unsigned n_powers, size_t pitch, double *sums);
/* log(sum) + max - x_target, in f64. */
float qd_nll_finish(double sum, float max, float x_target);
/* 1 / sqrt(variance + epsilon) from the sums of squares about `rounded`, a float beside the true mean. */
float qd_layer_norm_scale(double sum_squares, size_t n, double mean, float rounded, float epsilon);

/* The specification's own functions, for slots that an instruction set leaves alone and for the ends of arrays. */
#define K(name, ret, args) ret qd_c_##name args;
#include "kernels.inc"
#undef K

/* What the CPU and the system allow. */
enum { QD_CPU_AVX2 = 1, QD_CPU_AVX512 = 2, QD_CPU_NEON = 4 };
unsigned qd_cpu_features(void);

#endif

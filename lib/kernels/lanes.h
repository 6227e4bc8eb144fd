/* lanes.h - the shape of every reduction, the same on all instruction sets, and the slow paths that they share.
 *
 * Element i of an array belongs to lane i % 16. A lane sums in f32 and is flushed to its f64 twin every 8 steps (128
 * elements of the array), where it starts from zero again: at most 7 inexact additions, so a flushed sum of terms t
 * is off by at most 7 u sum|t|, u = 2^-24, and the f64 part adds nothing that matters. The 16 f64 lanes are folded in
 * halves: lane l with l + 8, then l + 4, l + 2, l + 1.
 * power_sums has four sums to flush and does it cheaper: the f32 lanes are first folded to 4 (l with l + 8, then l + 4)
 * and those added to 4 f64 lanes of the block: 9 inexact additions.
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
    QD_QUAD = 4,               /* f64 lanes of power_sums */
    QD_FLUSH = 8 * QD_STEP,    /* elements between flushes */
    QD_AHEAD = 4096,           /* bytes that power_sums prefetches ahead: over the border of a page */
    QD_ROW_BLOCK = QD_LSE_BLOCK, /* elements of nll and softmax_kl that share a maximum: two rows of 8 KiB in L1 */
    QD_FLUSH_ROWS = 8,         /* rows between flushes of column squares */
    QD_COLUMN_ROWS = 16,       /* and of column sums, which have four to flush */
    QD_BLOCK = 32 * QD_FLUSH,  /* elements that power_sums looks at before it decides how: 16 KiB, stays in L1 */
    QD_GRIDS = 80              /* grids that grid_errors serves in one pass; a multiple of 4 */
};

/* 1.5 * 2^23: adding and subtracting it rounds |t| <= 2^22 to the nearest integer, ties to even, never -0. */
#define QD_ROUND 12582912.0f

/* The values of IQ4's codes, and the middle between each and the next, from which on the next is nearer. */
#define QD_CODEBOOK {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
#define QD_CODEBOOK_MIDDLES \
    {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101}

#define QD_BLOCK_ZERO 1e-15f /* blocks whose largest magnitude is below are all zero: ggml's GROUP_MAX_EPS */

/* exp: the range; ln 2 in two parts, of which the first has 9 bits so that its product with |n| <= 128 is exact; and
 * what rounds as QD_ROUND does and leaves n + 127, an exponent field, in the low bits. */
#define QD_EXP_LOW (-88.0f)
#define QD_EXP_HIGH 89.0f
#define QD_EXP_ROUND (QD_ROUND + 127.0f)
#define QD_LOG2E 1.44269504f
#define QD_LN2_HIGH 0.693359375f
#define QD_LN2_LOW (-2.12194440e-4f)
/* exp(r) ~ 1 + r + r^2 (P2 + P3 r + ... + P6 r^4) on |r| <= ln(2)/2: minimax for the relative error, 0.07 u. This and
 * the polynomials below are fitted by linear programming on 1500 Chebyshev points (test/golden/make_polynomials.py). */
#define QD_EXP_P2 0.49999994f
#define QD_EXP_P3 0.166665211f
#define QD_EXP_P4 0.0416683927f
#define QD_EXP_P5 0.00836871471f
#define QD_EXP_P6 0.0013814359f
/* (e^t - 1 - t) / t^2 ~ 1/2 + PHI_1 t + ... + PHI_6 t^6 on |t| < 1, relative error 1.9 u. */
#define QD_PHI_1 0.166666955f
#define QD_PHI_2 0.0416665152f
#define QD_PHI_3 0.00833093002f
#define QD_PHI_4 0.00138913363f
#define QD_PHI_5 0.000203254851f
#define QD_PHI_6 2.49607638e-05f
/* ((1 + r) log(1 + r) + (1 - r) log(1 - r)) / r^2 ~ 1 + JS_1 w + ... + JS_5 w^5, w = r^2 < 1/4, relative error 0.08
 * u. */
#define QD_JS_1 0.166667193f
#define QD_JS_2 0.0666381195f
#define QD_JS_3 0.0362180509f
#define QD_JS_4 0.0184310284f
#define QD_JS_5 0.0273428429f
/* (2 - z) log(2 - z) on 0 <= z <= 1/2, within 2 u of that plus z log z. */
#define QD_JS_FAR_0 1.38629436f
#define QD_JS_FAR_1 (-1.69314325f)
#define QD_JS_FAR_2 0.249925092f
#define QD_JS_FAR_3 0.0422038995f
#define QD_JS_FAR_4 0.00866450556f
#define QD_JS_FAR_5 0.00565274293f
/* log(1 + t) ~ t (LOG_1 + LOG_2 t + ... + LOG_8 t^7) from the root of 1/2 to that of 2, within 0.6 u absolutely. */
#define QD_LN2 0.693147181f
#define QD_SQRT_HALF_BITS 0x3f3504f3u
#define QD_LOG_1 0.999999821f
#define QD_LOG_2 (-0.500006676f)
#define QD_LOG_3 0.333361834f
#define QD_LOG_4 (-0.249593481f)
#define QD_LOG_5 0.198729932f
#define QD_LOG_6 (-0.173333943f)
#define QD_LOG_7 0.164202914f
#define QD_LOG_8 (-0.101027332f)

/* Philox 4x32: the multipliers of a round and the Weyl steps of the key (Salmon et al. 2011, table 2). */
#define QD_PHILOX_M0 0xD2511F53u
#define QD_PHILOX_M1 0xCD9E8D57u
#define QD_PHILOX_W0 0x9E3779B9u
#define QD_PHILOX_W1 0xBB67AE85u

/* 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)), which does not cancel; -2 * 0.79788456 and the cubic term of BLOOM's GELU. */
#define QD_GELU_SCALE (-1.59576912f)
#define QD_GELU_CUBIC 0.044715f
/* Phi(-a) ~ exp(-a^2 / 2) (TAIL_1 t + ... + TAIL_10 t^10), t = 1 / (1 + 5/16 a), on 0 <= a <= 13.25: minimax for the
 * relative error, 0.36 u. And 1 / sqrt(2 pi). */
#define QD_TAIL_STEP 0.3125f
#define QD_TAIL_1 0.124663159f
#define QD_TAIL_2 0.124793582f
#define QD_TAIL_3 0.111521155f
#define QD_TAIL_4 0.0917902216f
#define QD_TAIL_5 0.0506057069f
#define QD_TAIL_6 0.00666838512f
#define QD_TAIL_7 0.0632136762f
#define QD_TAIL_8 (-0.142783433f)
#define QD_TAIL_9 0.0879029408f
#define QD_TAIL_10 (-0.0183753911f)
#define QD_GAUSS_0 0.398942280f
/* tanh(z) ~ z + z w (TANH_0 + ... + TANH_4 w^4), w = z^2, on |z| < 5/8: relative error 0.16 u. */
#define QD_TANH_NEAR 0.625f
#define QD_TANH_0 (-0.333332807f)
#define QD_TANH_1 0.133314416f
#define QD_TANH_2 (-0.0537396222f)
#define QD_TANH_3 0.0206387397f
#define QD_TANH_4 (-0.00570460642f)
/* Slopes of activations are taken at x clamped to these: beyond them they are 0 or 1 within 1e-27. */
#define QD_GELU_TANH_END 9.0f
#define QD_GELU_ERF_END 12.0f
#define QD_SILU_END 80.0f

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

/* Within 1 ulp of exp (0.977 seen over every 97th float) where that is a normal float; below -87.69 the result is 0,
 * above 88.37 +inf; NaN stays. */
static inline float qd_exp(float x) {
    float clamped = qd_min(QD_EXP_HIGH, qd_max(QD_EXP_LOW, x)); /* this order keeps NaN */
    float shifted = clamped * QD_LOG2E + QD_EXP_ROUND, n = shifted - QD_EXP_ROUND;
    float r = clamped - n * QD_LN2_HIGH - n * QD_LN2_LOW, r2 = r * r;
    float low = QD_EXP_P3 * r + QD_EXP_P2, high = QD_EXP_P5 * r + QD_EXP_P4;
    float p = (QD_EXP_P6 * r2 + high) * r2 + low;
    p = p * r2 + r + 1.0f;
    /* the low bits of `shifted` hold n + 127, the exponent field of 2^n; n = -127 gives 0 and n = 128 infinity */
    return p * qd_bits_float(qd_float_bits(shifted) << 23);
}

/* The nearest integer, ties to even, within low..high: |x| < 2^22. Beyond, what ggml's trick with the bits gives. */
static inline int32_t qd_nearest(float x, int32_t low, int32_t high) {
    int32_t i = (int32_t)(qd_float_bits(x + QD_ROUND) & 0x7fffff) - 0x400000;
    return i < low ? low : i > high ? high : i;
}

/* Natural logarithm of a positive normal float, within 2.2 u max(1, |log z|) for z < 1/2 or so; finite for 0. */
static inline float qd_log(float z) {
    uint32_t bits = qd_float_bits(z) - QD_SQRT_HALF_BITS; /* exponents change at the root of 1/2 */
    float t = qd_bits_float((bits & 0x7fffffu) + QD_SQRT_HALF_BITS) - 1.0f;
    float e = (float)((int32_t)bits >> 23), t2 = t * t;
    float a = QD_LOG_2 * t + QD_LOG_1, b = QD_LOG_4 * t + QD_LOG_3;
    float c = QD_LOG_6 * t + QD_LOG_5, d = QD_LOG_8 * t + QD_LOG_7;
    return e * QD_LN2 + t * ((d * t2 + c) * (t2 * t2) + (b * t2 + a));
}

/* r and its term of half_quadratic. */
static inline float qd_half_quadratic_residual(float w, float zero, const qd_half_quadratic *how) {
    float t = w * how->inverse + zero, clamped = qd_min(qd_max(t, 0.0f), how->high);
    return t - ((clamped + QD_ROUND) - QD_ROUND);
}

static inline float qd_half_quadratic_term(float r, float weight, const qd_half_quadratic *how) {
    float size = fabsf(r);
    if (!(size > how->limit)) return r;
    float least = qd_min(weight * qd_exp(how->power * qd_log(size)), size);
    return r < 0 ? 0.0f - least : least;
}

/* The first element from `first` on that is value; n if none is. Compared in vectors. */
static inline size_t qd_first_equal(const float *x, size_t n, size_t first, float value) {
    for (; first + 4 * QD_STEP <= n; first += 4 * QD_STEP) {
        unsigned found = 0;
        for (size_t i = 0; i < 4 * QD_STEP; i++) found |= x[first + i] == value;
        if (found) break;
    }
    while (first < n && x[first] != value) first++;
    return first;
}

/* 32 bytes for byte-wise work; the compiler has them on every instruction set. */
typedef uint64_t qd_words __attribute__((vector_size(32)));
typedef uint8_t qd_bytes __attribute__((vector_size(32)));

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

/* Folds 4 f64 lanes. */
static inline double qd_fold_quad(const double lanes[QD_QUAD]) {
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* power_sums between blocks. */
typedef struct qd_power_state {
    double sums[4][QD_QUAD];
    double min, max;
    uint64_t n_finite;
} qd_power_state;

static inline void qd_power_state_init(qd_power_state *state) {
    *state = (qd_power_state){.min = INFINITY, .max = -INFINITY};
}

/* A block's own sums, which start from zero, are added to the state's when it is done. */
static inline void qd_power_state_add(qd_power_state *state, double sums[4][QD_QUAD], float min, float max, size_t n) {
    for (size_t p = 0; p < 4; p++) {
        for (size_t l = 0; l < QD_QUAD; l++) state->sums[p][l] += sums[p][l];
    }
    if ((double)min < state->min) state->min = (double)min;
    if ((double)max > state->max) state->max = (double)max;
    state->n_finite += n;
}

/* One block in f64, whatever it holds; one object code for all instruction sets. */
void qd_power_block_slow(qd_power_state *state, const float *x, size_t n, float pivot);
static inline void qd_power_state_finish(const qd_power_state *state, qd_power_sums *out) {
    out->s1 = qd_fold_quad(state->sums[0]);
    out->s2 = qd_fold_quad(state->sums[1]);
    out->s3 = qd_fold_quad(state->sums[2]);
    out->s4 = qd_fold_quad(state->sums[3]);
    out->min = state->min + 0.0;
    out->max = state->max + 0.0;
    out->n_finite = state->n_finite;
}

/* At most 16 rows of at most 16 columns in f64, whatever they hold: into column j of `into`, whose rows are `pitch`
 * apart; pivots as in column_sums. */
void qd_column_sums_slow(const float *w, size_t n_rows, size_t n_columns, size_t stride, const float *pivots,
                         size_t pitch, size_t j, const qd_column_sums *into);
/* The squares of at most 8 rows alone, NaN and infinity included. */
void qd_column_squares_slow(const float *x, size_t n_rows, size_t n_columns, size_t stride, double *squares);
/* errors[j] += sum over at most 8 rows of (w - q)^2 in f64. */
void qd_measure_slow(const float *w, const float *q, size_t n_rows, size_t n, size_t stride_w, size_t stride_q,
                     double *errors);
/* Adds a block: the sum of exp(x - max), its own max; the two maxima are combined in f64 with libm's exp. */
void qd_lse_add(qd_lse *total, float max, double sum);
/* Ends a part x[n] whose largest element, top, is in the block from element `block`. */
void qd_lse_part_end(qd_lse *row, const float *x, size_t n, float top, size_t block);

/* softmax_kl between blocks: sums of e^x, e^y, e^x t and e^x (e^t - 1 - t), x and y less max_x and max_y, t = y - x so;
 * the largest elements and where their blocks start. */
typedef struct qd_kl_sums {
    float max_x, max_y, top_x, top_y;
    size_t block_x, block_y;
    double x, y, shift, spread;
} qd_kl_sums;
#define QD_KL_SUMS {.max_x = -FLT_MAX, .max_y = -FLT_MAX, .top_x = -INFINITY, .top_y = -INFINITY}
/* Adds a block that starts at element `first`; block is spent. */
void qd_kl_add(qd_kl_sums *total, qd_kl_sums *block, size_t first);
void qd_kl_finish(const qd_kl_sums *sums, const float *x, const float *y, size_t n, qd_kl *out);
/* 1 / sqrt(variance + epsilon) from the sums of squares about `rounded`, a float beside the true mean. */
float qd_layer_norm_scale(double sum_squares, size_t n, double mean, float rounded, float epsilon);
/* 1 / sqrt(mean square + epsilon). */
float qd_rms_norm_scale(double sum_squares, size_t n, float epsilon);
/* What the gradient of a norm takes from g = dy weight: dx = scale (g - mean - (x - rounded) along), from the sums of
 * g and of g (x - rounded). */
typedef struct qd_norm_slope {
    float mean, along;
} qd_norm_slope;
qd_norm_slope qd_layer_norm_slope(double sum, double products, size_t n, double mean, float rounded, float scale);

/* The kernel rope: each file of an instruction set compiles it anew, and compilers see how to make vectors of it. */
static inline void qd_rope(float *x, const float *restrict cos, const float *restrict sin, size_t n_pairs,
                           bool interleaved) {
    if (interleaved) {
        for (size_t i = 0; i < n_pairs; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cos[i] - b * sin[i];
            x[2 * i + 1] = b * cos[i] + a * sin[i];
        }
    } else {
        float *restrict y = x + n_pairs, *restrict z = x;
        for (size_t i = 0; i < n_pairs; i++) {
            float a = z[i], b = y[i];
            z[i] = a * cos[i] - b * sin[i];
            y[i] = b * cos[i] + a * sin[i];
        }
    }
}

/* The specification's own functions, for slots that an instruction set leaves alone and for the ends of arrays. */
#define K(name, ret, args) ret qd_c_##name args;
#include "kernels.inc"
#undef K

/* What the CPU and the system allow. */
enum { QD_CPU_AVX2 = 1, QD_CPU_AVX512 = 2, QD_CPU_NEON = 4 };
unsigned qd_cpu_features(void);

#endif

/* resample.h - intervals and tests by resampling. */
#ifndef QD_RESAMPLE_H
#define QD_RESAMPLE_H

#include "base/base.h"

#include <qdisp/stats.h>

/* n_draws numbers a resample out of [0, n), n <= 2^20, from Philox words of (resample, place): a result depends on
 * data and seed alone. A word w of 32 bits gives per_word of them, the digits of w n^per_word / 2^32 in base n, the
 * highest first; beyond n = 2^16 two words give one. Any combination of the digits of a word is off its probability by
 * at most 2^-16 of it (n^per_word / 2^32), so the weight of any pair in a resample is off by at most 2^-16 of itself
 * in the mean: for n <= 2^16 that moves a mean by less than 2^-8 of its standard error, and mostly by far less. */
typedef struct qd_draws {
    const struct qd_kernels *kernels;
    uint32_t key[2], stream; /* stream: keeps kinds of use of one seed apart */
    size_t n, n_draws;
    size_t n_words;          /* a resample, a multiple of 4 */
    unsigned per_word;       /* 4, 2 or 1; 0: two words a draw */
} qd_draws;

qd_draws qd_draws_of(const qdisp_ctx *ctx, uint64_t seed, uint32_t stream, size_t n, size_t n_draws);
/* The words of resamples [first, first + n_resamples): words[n_resamples * n_words]. */
void qd_draws_words(const qd_draws *draws, uint64_t first, size_t n_resamples, uint32_t *words);
/* counts[n] += 1 for every one of n drawn places. */
void qd_draws_count(const qd_draws *draws, const uint32_t *words, uint32_t *counts);
/* The draw from two words; n <= 2^20. */
static inline size_t qd_draw_wide(const uint32_t *words, size_t n) {
    return (size_t)(((uint64_t)words[1] * n + ((uint64_t)words[0] * n >> 32)) >> 32);
}

/* What a set of resampled values says about an estimate. */
typedef struct qd_resampled {
    size_t n, n_degenerate;    /* values that are numbers, and NaN */
    double mean, sd;           /* sd with n - 1 */
    double low, high;          /* interval */
} qd_resampled;

/* Interval of `estimate` from values[n], whose NaN are left out (the rest is moved to the front, in order).
 * leave_one_out [n_left] for BCa; a NaN there, or an estimate that is NaN, or no values: NaN. Errors: ENOMEM. Cost:
 * some passes. */
qdisp_status qd_interval(qdisp_ctx *ctx, qdisp_interval_method method, double level, double estimate, double *values,
                         size_t n, const double *leave_one_out, size_t n_left, qd_resampled *out);
/* Two-sided paired permutation test that the sum of d[n] is 0, by sign flips: all 2^n when that is at most n_resamples,
 * else n_resamples random ones, p = (b + 1) / (B + 1). 1 if all d are 0. */
qdisp_status qd_sign_flip_test(qdisp_ctx *ctx, const double *d, size_t n, size_t n_resamples, uint64_t seed, double *p);
/* Sorts ascending; NaN must not occur. */
void qd_sort(double *x, size_t n);
/* Quantile of sorted x[n] by linear interpolation between order statistics (Hyndman and Fan's type 7). */
double qd_quantile(const double *sorted, size_t n, double q);

#endif

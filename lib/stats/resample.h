/* resample.h - intervals and tests by resampling. */
#ifndef QD_RESAMPLE_H
#define QD_RESAMPLE_H

#include "base/base.h"

/* Two-sided paired permutation test that the sum of d[n] is 0, by sign flips: all 2^n when that is at most n_resamples,
 * else n_resamples random ones, p = (b + 1) / (B + 1). 1 if all d are 0. */
qdisp_status qd_sign_flip_test(qdisp_ctx *ctx, const double *d, size_t n, size_t n_resamples, uint64_t seed, double *p);
/* Holm's step-down adjustment of p[n] in place. NaN stays NaN and does not count. */
qdisp_status qd_holm(qdisp_ctx *ctx, double *p, size_t n);
/* Sorts ascending; NaN must not occur. */
void qd_sort(double *x, size_t n);
/* Quantile of sorted x[n] by linear interpolation between order statistics (Hyndman and Fan's type 7). */
double qd_quantile(const double *sorted, size_t n, double q);

#endif

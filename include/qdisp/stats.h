/* qdisp/stats.h - moments and kurtosis of arrays, the census of a model, correlation and intervals. */
#ifndef QDISP_STATS_H
#define QDISP_STATS_H

#include <qdisp/base.h>
#include <qdisp/model.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Mergeable moments of a set of numbers. Frozen struct. m2, m3, m4 are sums of powers of (x - mean). Non-finite
 * elements are counted and left out of everything else. n = 0: mean NaN, min +inf, max -inf. */
typedef struct qdisp_moments {
    uint64_t n;            /* finite elements */
    uint64_t n_non_finite; /* NaN and infinities */
    double mean, m2, m3, m4;
    double min, max;
} qdisp_moments;

/* Moments of data[n] of dtype F32, F16, BF16 (any alignment). Same bits on every instruction set; the order of
 * blocks is fixed, so also for any number of threads. Relative error of m4 against exact arithmetic: see
 * lib/stats/moments.c. Errors: EINVAL (NULL data with n > 0), EUNSUPPORTED (dtype). Cost: one pass. */
QDISP_API qdisp_status qdisp_moments_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n,
                                             qdisp_moments *out);
/* The same for each row of data[n_rows * n_columns]: out[n_rows]. */
QDISP_API qdisp_status qdisp_moments_rows(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows,
                                          size_t n_columns, qdisp_moments *out);
/* into = moments of the union of two disjoint sets (Pebay 2008, eqs. 3.1). */
QDISP_API void qdisp_moments_merge(qdisp_moments *into, const qdisp_moments *from);
/* Excess kurtosis n m4 / m2^2 - 3 (population, "Fisher", biased: scipy's default); NaN if m2 = 0 or n = 0. */
QDISP_API double qdisp_moments_kurtosis(const qdisp_moments *moments);
/* Population standard deviation and skewness; NaN where undefined. */
QDISP_API double qdisp_moments_std(const qdisp_moments *moments);
QDISP_API double qdisp_moments_skewness(const qdisp_moments *moments);

/* Census: table "census", a row for every tensor with two or more dimensions, and for each part of a fused QKV map
 * (roles attn.q, attn.k, attn.v): tensor, role, layer, n, n_non_finite, mean, std, kurtosis, max_over_std,
 * row_kurtosis_max, class (heavy > 50, moderate 15-50, mild 5-15, gaussian < 5). Cost: two passes over the weights. */
QDISP_API qdisp_status qdisp_census(const qdisp_model *model, qdisp_table **out);

/* Spearman's rank correlation of x[n], y[n] with average ranks for ties; NaN if n < 3 or either is constant. Pairs with
 * a NaN are left out. Errors: EINVAL, ENOMEM. */
QDISP_API qdisp_status qdisp_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double *rho);

/* Bias-corrected and accelerated bootstrap interval (Efron 1987) of the ratio sum(a) / sum(b), resampling pairs
 * (clusters) n times: a[n], b[n]; level 0.95; n_resamples >= 100. The generator is counter-based: the interval depends
 * only on data and seed. Errors: EINVAL (n < 3 and so on), ENUMERIC (a sum of b that is not positive), ENOMEM. */
QDISP_API qdisp_status qdisp_bootstrap_ratio(qdisp_ctx *ctx, const double *a, const double *b, size_t n, double level,
                                             size_t n_resamples, uint64_t seed, double *low, double *high);

#ifdef __cplusplus
}
#endif
#endif

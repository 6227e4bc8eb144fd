/* ttest.c - t tests of mean differences, and of equivalence. */
#include "stats/correlate.h"
#include "stats/double2.h"
#include "stats/special.h"

#include <math.h>

/* Mean and variance of the mean, (sum of squared deviations) / (n (n - 1)); NaN for n < 2 or an infinity. All values
 * alike: the variance is 0 exactly. */
typedef struct sample {
    double n, mean, variance;
} sample;

static sample sample_of(const double *x, size_t n) {
    sample s = {(double)n, NAN, NAN};
    double largest = 0, squares = 0;
    bool is_constant = true;
    int exponent;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(x[i]));
        is_constant &= x[i] == x[0];
    }
    if (n < 2 || isinf(largest)) return s;
    frexp(largest, &exponent);
    double scale = ldexp(1, exponent < -1000 ? 1000 : -exponent); /* no overflow of sums and squares */
    qd_double2 mean = qd_mean2(x, n, scale);
    for (size_t i = 0; i < n; i++) {
        double d = (x[i] * scale - mean.hi) - mean.lo;
        squares += d * d;
    }
    s.mean = is_constant ? x[0] : mean.hi / scale;
    s.variance = is_constant ? 0 : squares / (s.n * (s.n - 1)) / scale / scale;
    return s;
}

static double one_sided(double t, double df, qdisp_alternative alternative) {
    return qd_t_sf(alternative == QDISP_LESS ? -t : t, df);
}

static void finish(qdisp_t_test *r, qdisp_alternative alternative, double level) {
    double tail = alternative == QDISP_TWO_SIDED ? (1 - level) / 2 : 1 - level;
    double half = -qd_t_quantile(tail, r->df) * r->standard_error;
    r->t = r->difference / r->standard_error;
    r->p = alternative == QDISP_TWO_SIDED ? qd_t_two_sided(r->t, r->df) : one_sided(r->t, r->df, alternative);
    r->low = r->difference - half;
    r->high = r->difference + half;
    if (isnan(half)) return;
    if (alternative == QDISP_LESS) r->low = -INFINITY;
    if (alternative == QDISP_GREATER) r->high = INFINITY;
}

/* The differences of the complete pairs. */
static qdisp_status differences(qdisp_ctx *ctx, const char *what, const double *x, const double *y, size_t n,
                                sample *out, size_t *n_pairs) {
    double *pairs;
    QD_TRY(qd_pairs(ctx, what, x, y, n, true, &pairs, n_pairs));
    for (size_t i = 0; i < *n_pairs; i++) pairs[i] -= pairs[n + i];
    for (size_t i = 0; i < *n_pairs; i++)
        if (isnan(pairs[i])) pairs[i] = INFINITY; /* infinity minus itself: not a missing value */
    *out = sample_of(pairs, *n_pairs);
    qd_free(ctx, pairs);
    return QDISP_OK;
}

qdisp_status qdisp_t_test_paired(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                 qdisp_alternative alternative, double level, qdisp_t_test *out) {
    sample d;
    size_t n_pairs;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "paired t test: no place for the result");
    QD_TRY(qd_check_test(ctx, "paired t test", alternative, level));
    QD_TRY(differences(ctx, "paired t test", x, y, n, &d, &n_pairs));
    qdisp_t_test r = {.difference = d.mean, .standard_error = sqrt(d.variance), .df = n_pairs < 2 ? NAN : d.n - 1,
                      .n_x = n_pairs, .n_y = n_pairs};
    finish(&r, alternative, level);
    *out = r;
    return QDISP_OK;
}

qdisp_status qdisp_t_test_welch(qdisp_ctx *ctx, const double *x, size_t n_x, const double *y, size_t n_y,
                                qdisp_alternative alternative, double level, qdisp_t_test *out) {
    double *values[2];
    size_t n[2];
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "welch's t test: no place for the result");
    QD_TRY(qd_check_test(ctx, "welch's t test", alternative, level));
    if (n_y > 0 && !y) return qd_fail(ctx, QDISP_EINVAL, "welch's t test: NULL for %zu values", n_y);
    QD_TRY(qd_pairs(ctx, "welch's t test", x, NULL, n_x, true, &values[0], &n[0]));
    qdisp_status status = qd_pairs(ctx, "welch's t test", y, NULL, n_y, true, &values[1], &n[1]);
    if (status != QDISP_OK) {
        qd_free(ctx, values[0]);
        return status;
    }
    sample a = sample_of(values[0], n[0]), b = sample_of(values[1], n[1]);
    double v = a.variance + b.variance, p = a.variance / v, q = b.variance / v;
    qdisp_t_test r = {.difference = a.mean - b.mean, .standard_error = sqrt(v), .n_x = n[0], .n_y = n[1]};
    r.df = v == 0 ? a.n + b.n - 2 : 1 / (p * p / (a.n - 1) + q * q / (b.n - 1));
    finish(&r, alternative, level);
    *out = r;
    qd_free(ctx, values[0]);
    qd_free(ctx, values[1]);
    return QDISP_OK;
}

/* P that the mean is beyond a margin, given its distance into the margins. */
static double margin_p(double inside, double standard_error, double df) {
    if (standard_error == 0) return inside > 0 ? 0 : 1;
    return qd_t_sf(inside / standard_error, df);
}

qdisp_status qdisp_tost_paired(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double margin_low,
                               double margin_high, double alpha, qdisp_tost *out) {
    sample d;
    size_t n_pairs;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "tost: no place for the result");
    if (!(margin_low < margin_high) || isinf(margin_low) || isinf(margin_high))
        return qd_fail(ctx, QDISP_EINVAL, "tost: margins %g and %g", margin_low, margin_high);
    if (!(alpha > 0 && alpha < 0.5)) return qd_fail(ctx, QDISP_EINVAL, "tost: alpha %g is outside (0, 0.5)", alpha);
    QD_TRY(differences(ctx, "tost", x, y, n, &d, &n_pairs));
    qdisp_tost r = {.difference = d.mean, .standard_error = sqrt(d.variance), .df = n_pairs < 2 ? NAN : d.n - 1,
                    .n = n_pairs};
    r.p_low = margin_p(d.mean - margin_low, r.standard_error, r.df);
    r.p_high = margin_p(margin_high - d.mean, r.standard_error, r.df);
    r.p = isnan(r.p_low) ? NAN : fmax(r.p_low, r.p_high);
    double half = -qd_t_quantile(alpha, r.df) * r.standard_error;
    r.low = d.mean - half;
    r.high = d.mean + half;
    r.equivalent = r.p < alpha;
    *out = r;
    return QDISP_OK;
}

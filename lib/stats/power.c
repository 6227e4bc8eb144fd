/* power.c - power of tests before the data: correlation by Fisher's z, paired differences by the noncentral t. */
#include "stats/correlate.h"
#include "stats/special.h"

#include <math.h>

/* A test by its distance from the hypothesis in units of its statistic's standard error. */
typedef struct planned_test {
    double df;       /* infinite: normal */
    double critical; /* the statistic that is just significant */
    bool is_two_sided;
} planned_test;

static qdisp_status planned(qdisp_ctx *ctx, const char *what, uint64_t n, uint64_t n_min, double alpha,
                            qdisp_alternative alternative, planned_test *test) {
    QD_TRY(qd_check_test(ctx, what, alternative, 0.5));
    if (n < n_min || n > (uint64_t)1 << 53)
        return qd_fail(ctx, QDISP_EINVAL, "%s: %llu pairs, %llu or more are needed", what, (unsigned long long)n,
                       (unsigned long long)n_min);
    if (!(alpha > 0 && alpha < 1)) return qd_fail(ctx, QDISP_EINVAL, "%s: alpha %g is outside (0, 1)", what, alpha);
    test->is_two_sided = alternative == QDISP_TWO_SIDED;
    test->critical = -qd_t_quantile(test->is_two_sided ? alpha / 2 : alpha, test->df);
    return QDISP_OK;
}

/* P(T > t) for a T of noncentrality delta. */
static double tail(double t, double df, double delta) {
    if (isinf(df)) return qd_normal_cdf(delta - t);
    return t >= 0 ? qd_noncentral_t_sf(t, df, delta) : 1 - qd_noncentral_t_sf(-t, df, -delta);
}

static double power_at(const planned_test *test, double delta) {
    double p = tail(test->critical, test->df, delta);
    if (test->is_two_sided) p += tail(test->critical, test->df, -delta);
    return p > 1 ? 1 : p; /* NaN stays */
}

/* The distance that has this power: power grows with it. NaN if the power cannot be computed on the way. */
static double distance_for(const planned_test *test, double power) {
    double low = 0, high = 1;
    while (power_at(test, high) < power && high < 1e6) high *= 2;
    if (!(power_at(test, high) >= power)) return NAN;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = 0.5 * (low + high), p = power_at(test, middle);
        if (isnan(p)) return NAN;
        if (p < power) low = middle;
        else high = middle;
    }
    return 0.5 * (low + high);
}

/* One result of a power function: NaN is the sum that takes too long. */
static qdisp_status result(qdisp_ctx *ctx, const char *what, double value, double *out) {
    if (isnan(value)) return qd_fail(ctx, QDISP_ENUMERIC, "%s: too far out in the noncentral distribution", what);
    *out = value;
    return QDISP_OK;
}

static qdisp_status check_power(qdisp_ctx *ctx, const char *what, double alpha, double power) {
    if (power > alpha && power < 1) return QDISP_OK;
    return qd_fail(ctx, QDISP_EINVAL, "%s: power %g is outside (alpha = %g, 1)", what, power, alpha);
}

/* The t test of r rejects beyond r = t / sqrt(t^2 + df), where Fisher's z is asinh(t / sqrt(df)). z is taken as normal
 * around atanh(rho) + rho / (2 (n - 1)), with the variance 1 / (n - 3). */
static qdisp_status planned_correlation(qdisp_ctx *ctx, const char *what, uint64_t n, double alpha,
                                        qdisp_alternative alternative, planned_test *test) {
    test->df = (double)n - 2;
    QD_TRY(planned(ctx, what, n, 4, alpha, alternative, test));
    test->critical = asinh(test->critical / sqrt(test->df)) * sqrt((double)n - 3);
    test->df = INFINITY;
    return QDISP_OK;
}

qdisp_status qdisp_power_correlation(qdisp_ctx *ctx, double rho, uint64_t n, double alpha,
                                     qdisp_alternative alternative, double *power) {
    planned_test test;
    if (!power) return qd_fail(ctx, QDISP_EINVAL, "power of a correlation: no place for the result");
    QD_TRY(planned_correlation(ctx, "power of a correlation", n, alpha, alternative, &test));
    if (!(fabs(rho) < 1)) return qd_fail(ctx, QDISP_EINVAL, "power of a correlation: rho %g is outside (-1, 1)", rho);
    double delta = (atanh(rho) + rho / (2 * ((double)n - 1))) * sqrt((double)n - 3);
    return result(ctx, "power of a correlation", power_at(&test, alternative == QDISP_LESS ? -delta : delta), power);
}

qdisp_status qdisp_detectable_correlation(qdisp_ctx *ctx, uint64_t n, double alpha, double power,
                                          qdisp_alternative alternative, double *rho) {
    planned_test test;
    if (!rho) return qd_fail(ctx, QDISP_EINVAL, "detectable correlation: no place for the result");
    QD_TRY(planned_correlation(ctx, "detectable correlation", n, alpha, alternative, &test));
    QD_TRY(check_power(ctx, "detectable correlation", alpha, power));
    double z = distance_for(&test, power) / sqrt((double)n - 3), r = tanh(z);
    for (int i = 0; i < 40; i++) r = tanh(z - r / (2 * ((double)n - 1))); /* each step divides the error by 6 or more */
    return result(ctx, "detectable correlation", alternative == QDISP_LESS ? -r : r, rho);
}

qdisp_status qdisp_power_paired(qdisp_ctx *ctx, double effect, uint64_t n, double alpha,
                                qdisp_alternative alternative, double *power) {
    planned_test test = {.df = (double)n - 1};
    if (!power) return qd_fail(ctx, QDISP_EINVAL, "power of a paired t test: no place for the result");
    QD_TRY(planned(ctx, "power of a paired t test", n, 2, alpha, alternative, &test));
    if (!isfinite(effect)) return qd_fail(ctx, QDISP_EINVAL, "power of a paired t test: effect %g", effect);
    double delta = effect * sqrt((double)n);
    return result(ctx, "power of a paired t test", power_at(&test, alternative == QDISP_LESS ? -delta : delta), power);
}

qdisp_status qdisp_detectable_paired(qdisp_ctx *ctx, uint64_t n, double alpha, double power,
                                     qdisp_alternative alternative, double *effect) {
    planned_test test = {.df = (double)n - 1};
    if (!effect) return qd_fail(ctx, QDISP_EINVAL, "detectable paired difference: no place for the result");
    QD_TRY(planned(ctx, "detectable paired difference", n, 2, alpha, alternative, &test));
    QD_TRY(check_power(ctx, "detectable paired difference", alpha, power));
    double d = distance_for(&test, power) / sqrt((double)n);
    return result(ctx, "detectable paired difference", alternative == QDISP_LESS ? -d : d, effect);
}

/* correlate.c - Pearson's and Spearman's correlation, with p, interval and leave-one-out. */
#include "stats/correlate.h"
#include "stats/double2.h"
#include "stats/special.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qdisp_status qd_check_test(qdisp_ctx *ctx, const char *what, qdisp_alternative alternative, double level) {
    if (alternative != QDISP_TWO_SIDED && alternative != QDISP_LESS && alternative != QDISP_GREATER)
        return qd_fail(ctx, QDISP_EINVAL, "%s: there is no alternative %d", what, (int)alternative);
    if (!(level > 0 && level < 1)) return qd_fail(ctx, QDISP_EINVAL, "%s: level %g is outside (0, 1)", what, level);
    return QDISP_OK;
}

qdisp_status qd_pairs(qdisp_ctx *ctx, const char *what, const double *x, const double *y, size_t n,
                      bool y_is_optional, double **pairs, size_t *n_pairs) {
    if (n > 0 && (!x || (!y && !y_is_optional)))
        return qd_fail(ctx, QDISP_EINVAL, "%s: NULL for %zu values", what, n);
    if (n > SIZE_MAX / 32) return qd_fail(ctx, QDISP_EINVAL, "%s: %zu pairs", what, n);
    double *to = qd_alloc(ctx, 2 * n, sizeof *to);
    size_t m = 0;
    if (!to) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        double b = y ? y[i] : 0;
        if (isnan(x[i]) || isnan(b)) continue;
        to[m] = x[i];
        to[n + m++] = b;
    }
    *pairs = to;
    *n_pairs = m;
    return QDISP_OK;
}

/* A power of two that brings max|x| into [1/2, 1) (or as near as it can, at the ends of the range); 0: x is constant or
 * not finite. */
static double scale_of(const double *x, size_t n) {
    double largest = 0;
    bool is_constant = true;
    int exponent;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(x[i]));
        is_constant &= x[i] == x[0];
    }
    frexp(largest, &exponent);
    return is_constant || isinf(largest) ? 0 : ldexp(1, exponent < -1000 ? 1000 : -exponent);
}

double qd_pearson(const double *x, const double *y, size_t n, double *unexplained) {
    double scale_x = scale_of(x, n), scale_y = scale_of(y, n);
    *unexplained = NAN;
    if (n < 3 || scale_x == 0 || scale_y == 0) return NAN;
    qd_double2 mean_x = qd_negative2(qd_mean2(x, n, scale_x)), mean_y = qd_negative2(qd_mean2(y, n, scale_y));
    qd_double2 xx = {0, 0}, yy = {0, 0}, xy = {0, 0};
    for (size_t i = 0; i < n; i++) {
        qd_double2 dx = qd_add2((qd_double2){x[i] * scale_x, 0}, mean_x);
        qd_double2 dy = qd_add2((qd_double2){y[i] * scale_y, 0}, mean_y);
        xx = qd_add2(xx, qd_multiply2(dx, dx));
        yy = qd_add2(yy, qd_multiply2(dy, dy));
        xy = qd_add2(xy, qd_multiply2(dx, dy));
    }
    qd_double2 whole = qd_multiply2(xx, yy), explained = qd_multiply2(xy, xy);
    double rest = qd_add2(whole, qd_negative2(explained)).hi / whole.hi;
    if (rest <= (double)n * 0x1p-98) { /* what remains is rounding */
        *unexplained = 0;
        return copysign(1, xy.hi);
    }
    *unexplained = fmin(1, rest);
    return fmin(1, fmax(-1, xy.hi / (sqrt(xx.hi) * sqrt(yy.hi))));
}

typedef struct ranked {
    double value;
    size_t i;
} ranked;

static int by_value(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

qdisp_status qd_ranks(qdisp_ctx *ctx, const double *x, size_t n, double *ranks) {
    ranked *order = qd_alloc(ctx, n, sizeof *order);
    if (!order) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) order[i] = (ranked){x[i], i};
    qsort(order, n, sizeof *order, by_value);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && order[to].value == order[from].value; to++) {}
        for (size_t k = from; k < to; k++) ranks[order[k].i] = 0.5 * (double)(from + to + 1);
    }
    qd_free(ctx, order);
    return QDISP_OK;
}

double qd_correlation_p(double r, double unexplained, double df, qdisp_alternative alternative) {
    if (isnan(r) || !(df > 0)) return NAN;
    /* with t^2 = df r^2 / (1 - r^2), df / (df + t^2) is 1 - r^2 itself */
    double both = qd_beta_inc(df / 2, 0.5, unexplained, unexplained > 0.5 ? r * r : 1 - unexplained);
    if (alternative == QDISP_TWO_SIDED) return both;
    return (r > 0) == (alternative == QDISP_GREATER) ? both / 2 : 1 - both / 2;
}

void qd_fisher_interval(double r, double unexplained, double standard_error, qdisp_alternative alternative,
                        double level, double *low, double *high) {
    *low = *high = NAN;
    if (isnan(r) || !(standard_error > 0 && isfinite(standard_error))) return;
    /* atanh |r| = log((1 + |r|) / sqrt(1 - r^2)); infinite for r = 1, whose interval is then a point */
    double z = fabs(r) < 0.5 ? atanh(r) : copysign(log1p(fabs(r)) - 0.5 * log(unexplained), r);
    double half = -qd_normal_quantile(alternative == QDISP_TWO_SIDED ? (1 - level) / 2 : 1 - level) * standard_error;
    *low = alternative == QDISP_LESS ? -1 : tanh(z - half);
    *high = alternative == QDISP_GREATER ? 1 : tanh(z + half);
}

/* The coefficient of x[n], y[n] without NaN, which are overwritten by their ranks where is_ranked is set. */
static qdisp_status fill(qdisp_ctx *ctx, double *x, double *y, size_t n, bool is_ranked, qdisp_alternative alternative,
                         double level, qdisp_correlation_test *out) {
    double unexplained, n_free = (double)n - 3;
    if (is_ranked) {
        QD_TRY(qd_ranks(ctx, x, n, x));
        QD_TRY(qd_ranks(ctx, y, n, y));
    }
    qdisp_correlation_test c = {.n = n, .r = qd_pearson(x, y, n, &unexplained)};
    c.p = qd_correlation_p(c.r, unexplained, (double)n - 2, alternative);
    qd_fisher_interval(c.r, unexplained, sqrt((is_ranked ? 1 + c.r * c.r / 2 : 1) / n_free), alternative, level, &c.low,
                       &c.high);
    *out = c;
    return QDISP_OK;
}

static qdisp_status correlate(qdisp_ctx *ctx, const char *what, bool is_ranked, const double *x, const double *y,
                              size_t n, qdisp_alternative alternative, double level, qdisp_correlation_test *out) {
    double *pairs;
    size_t n_pairs;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "%s: no place for the result", what);
    QD_TRY(qd_check_test(ctx, what, alternative, level));
    QD_TRY(qd_pairs(ctx, what, x, y, n, false, &pairs, &n_pairs));
    qdisp_status status = fill(ctx, pairs, pairs + n, n_pairs, is_ranked, alternative, level, out);
    qd_free(ctx, pairs);
    return status;
}

qdisp_status qdisp_pearson(qdisp_ctx *ctx, const double *x, const double *y, size_t n, qdisp_alternative alternative,
                           double level, qdisp_correlation_test *out) {
    return correlate(ctx, "pearson", false, x, y, n, alternative, level, out);
}

qdisp_status qdisp_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n, qdisp_alternative alternative,
                            double level, qdisp_correlation_test *out) {
    return correlate(ctx, "spearman", true, x, y, n, alternative, level, out);
}

qdisp_status qd_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double *rho) {
    qdisp_correlation_test c;
    QD_TRY(qdisp_spearman(ctx, x, y, n, QDISP_TWO_SIDED, 0.95, &c));
    *rho = c.r;
    return QDISP_OK;
}

typedef qdisp_status (*method)(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                               qdisp_alternative alternative, double level, qdisp_correlation_test *out);

static qdisp_status fill_left_out(qdisp_table *t, method of, const double *x, const double *y,
                                  const char *const *labels, size_t n, double level) {
    qdisp_ctx *ctx = qd_table_ctx(t);
    qdisp_status status = QDISP_OK;
    qdisp_correlation_test all, c;
    char index[24];
    size_t left_out = qd_table_column(t, &status, "left_out", "", QDISP_COLUMN_STR);
    size_t pairs = qd_table_column(t, &status, "n", "pairs", QDISP_COLUMN_I64);
    size_t first = qd_table_column(t, &status, "r", "", QDISP_COLUMN_F64);
    qd_table_column(t, &status, "p", "", QDISP_COLUMN_F64);
    qd_table_column(t, &status, "low", "", QDISP_COLUMN_F64);
    qd_table_column(t, &status, "high", "", QDISP_COLUMN_F64);
    qd_table_column(t, &status, "change", "", QDISP_COLUMN_F64);
    if (status == QDISP_OK) status = of(ctx, x, y, n, QDISP_TWO_SIDED, level, &all);
    double *rest = status == QDISP_OK ? qd_alloc(ctx, 2 * n, sizeof *rest) : NULL;
    if (status == QDISP_OK && !rest) status = QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        if (isnan(x[i]) || isnan(y[i])) continue;
        memcpy(rest, x, n * sizeof *x);
        memcpy(rest + n, y, n * sizeof *y);
        rest[i] = NAN;
        status = of(ctx, rest, rest + n, n, QDISP_TWO_SIDED, level, &c);
        if (status != QDISP_OK) break;
        size_t row = qd_table_row(t, &status);
        snprintf(index, sizeof index, "%zu", i);
        qd_table_str(t, &status, row, left_out, labels ? labels[i] : index);
        qd_table_i64(t, &status, row, pairs, (int64_t)c.n);
        double values[5] = {c.r, c.p, c.low, c.high, c.r - all.r};
        for (size_t k = 0; k < 5; k++) qd_table_f64(t, &status, row, first + k, values[k]);
    }
    qd_free(ctx, rest);
    return status;
}

qdisp_status qdisp_leave_one_out(qdisp_ctx *ctx, qdisp_correlation kind, const double *x, const double *y,
                                 const char *const *labels, size_t n, double level, qdisp_table **out) {
    static const method methods[] = {[QDISP_CORRELATION_PEARSON] = qdisp_pearson,
                                     [QDISP_CORRELATION_SPEARMAN] = qdisp_spearman,
                                     [QDISP_CORRELATION_KENDALL] = qdisp_kendall};
    qdisp_table *t;
    if (!out || (n > 0 && (!x || !y))) return qd_fail(ctx, QDISP_EINVAL, "leave-one-out: NULL argument");
    if ((unsigned)kind >= sizeof methods / sizeof *methods)
        return qd_fail(ctx, QDISP_EINVAL, "leave-one-out: there is no correlation %d", (int)kind);
    QD_TRY(qd_check_test(ctx, "leave-one-out", QDISP_TWO_SIDED, level));
    QD_TRY(qdisp_table_new(ctx, "leave_one_out", "Correlation without each pair in turn", &t));
    qdisp_status status = fill_left_out(t, methods[kind], x, y, labels, n, level);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

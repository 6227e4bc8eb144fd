/* regress.c - least squares: QR, coefficients, leave-one-out R^2, variance inflation, partial correlation. */
#include "stats/correlate.h"
#include "stats/double2.h"
#include "stats/special.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 1e140 /* squares and their sums stay finite */

/* Centred columns of the complete rows, and their QR: columns = Q R with orthonormal Q, R upper triangular. */
typedef struct design {
    qdisp_ctx *ctx;
    const char *what;
    const char *const *names;
    size_t n_lead, n_columns, n;  /* n: complete rows */
    double *values;               /* [n_lead + n_columns][n] centred: leading arrays, then columns, which become Q */
    double *means, *norms;        /* [n_lead + n_columns]: of each, and the length after centring */
    double *r, *inverse;          /* [n_columns][n_columns], row-major: R, and its inverse once asked for */
} design;

static void design_clear(design *d) {
    qd_free(d->ctx, d->values);
    qd_free(d->ctx, d->means);
    qd_free(d->ctx, d->r);
    qd_free(d->ctx, d->inverse);
}

static double *column_of(const design *d, size_t i) {
    return d->values + (d->n_lead + i) * d->n;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static const char *column_name(const design *d, size_t i, char text[32]) {
    if (d->names) return d->names[i] ? d->names[i] : "(NULL)";
    snprintf(text, 32, "x%zu", i + 1);
    return text;
}

/* Copies the rows without NaN of lead[n_lead][n] and columns[n_columns][n]; the arrays stay n apart. */
static qdisp_status copy_rows(design *d, const double *const *lead, const double *columns, size_t n) {
    size_t n_arrays = d->n_lead + d->n_columns, m = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_complete = true;
        for (size_t j = 0; j < n_arrays; j++) {
            double v = j < d->n_lead ? lead[j][i] : columns[(j - d->n_lead) * n + i];
            if (fabs(v) > LARGEST)
                return qd_fail(d->ctx, QDISP_ENUMERIC, "%s: row %zu holds %g: too large", d->what, i, v);
            is_complete &= !isnan(v);
            d->values[j * n + m] = v;
        }
        m += is_complete;
    }
    for (size_t j = 1; j < n_arrays; j++) memmove(d->values + j * m, d->values + j * n, m * sizeof(double));
    d->n = m;
    return QDISP_OK;
}

static void centre(design *d) {
    for (size_t j = 0; j < d->n_lead + d->n_columns; j++) {
        double *v = d->values + j * d->n;
        bool is_constant = true;
        for (size_t i = 1; i < d->n; i++) is_constant &= v[i] == v[0];
        qd_double2 mean = qd_mean2(v, d->n, 1);
        for (size_t i = 0; i < d->n; i++) v[i] = is_constant ? 0 : (v[i] - mean.hi) - mean.lo;
        d->means[j] = mean.hi;
        d->norms[j] = sqrt(dot(v, v, d->n));
    }
}

/* Takes the first n_q columns of Q out of v; what it had of each is added to parts. Twice, as once leaves rounding
 * behind when most of v goes (Giraud, Langou, Rozloznik 2005: then Q is orthogonal to working precision). */
static void project_out(const design *d, double *v, size_t n_q, double *parts, size_t pitch) {
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < n_q; k++) {
            const double *q = column_of(d, k);
            double part = dot(q, v, d->n);
            for (size_t i = 0; i < d->n; i++) v[i] -= part * q[i];
            if (parts) parts[k * pitch] += part;
        }
}

static qdisp_status factor(design *d) {
    size_t k = d->n_columns;
    char text[32];
    for (size_t j = 0; j < k; j++) {
        double *v = column_of(d, j), norm = d->norms[d->n_lead + j];
        project_out(d, v, j, d->r + j, k);
        double left = sqrt(dot(v, v, d->n));
        if (!(left > norm * 0x1p-26))
            return qd_fail(d->ctx, QDISP_EINVAL, "%s: column %s is %s", d->what, column_name(d, j, text),
                           norm > 0 ? "a linear combination of those before it" : "constant");
        for (size_t i = 0; i < d->n; i++) v[i] /= left;
        d->r[j * k + j] = left;
    }
    return QDISP_OK;
}

/* Rows, means and, if there are enough rows, QR. On failure nothing is left to clear. */
static qdisp_status design_new(design *d, const double *const *lead, const double *columns, size_t n) {
    size_t n_arrays = d->n_lead + d->n_columns;
    uint64_t n_values;
    if (d->n_columns > 4096 || qd_mul_overflows(n_arrays, n, &n_values) || n_values > SIZE_MAX / 16)
        return qd_fail(d->ctx, QDISP_EINVAL, "%s: %zu rows of %zu columns; 4096 columns are possible", d->what, n,
                       d->n_columns);
    d->values = qd_alloc(d->ctx, (size_t)n_values, sizeof(double));
    d->means = qd_alloc(d->ctx, 2 * n_arrays, sizeof(double));
    d->r = qd_alloc(d->ctx, d->n_columns * d->n_columns, sizeof(double));
    d->norms = d->means ? d->means + n_arrays : NULL;
    qdisp_status status = d->values && d->means && d->r ? copy_rows(d, lead, columns, n) : QDISP_ENOMEM;
    if (status == QDISP_OK && d->n >= d->n_columns + 2) {
        centre(d);
        status = factor(d);
    }
    if (status != QDISP_OK) design_clear(d);
    return status;
}

static qdisp_status check_rows(const design *d) {
    if (d->n >= d->n_columns + 2) return QDISP_OK;
    return qd_fail(d->ctx, QDISP_EINVAL, "%s: %zu complete rows, %zu are needed for %zu columns and a constant",
                   d->what, d->n, d->n_columns + 2, d->n_columns);
}

static qdisp_status invert(design *d) {
    size_t k = d->n_columns;
    d->inverse = qd_alloc(d->ctx, k * k, sizeof(double));
    if (!d->inverse) return QDISP_ENOMEM;
    for (size_t j = 0; j < k; j++)
        for (size_t i = j + 1; i-- > 0;) {
            double sum = i == j;
            for (size_t m = i + 1; m <= j; m++) sum -= d->r[i * k + m] * d->inverse[m * k + j];
            d->inverse[i * k + j] = sum / d->r[i * k + i];
        }
    return QDISP_OK;
}

/* Length of row j of the inverse of R: the standard error of coefficient j for sigma = 1, as the covariance is
 * sigma^2 R^-1 R^-T. */
static double unit_error(const design *d, size_t j) {
    const double *row = d->inverse + j * d->n_columns;
    return sqrt(dot(row, row, d->n_columns));
}

static double inflation(const design *d, size_t j) {
    double v = d->norms[d->n_lead + j] * unit_error(d, j);
    return fmax(1, v * v); /* rounding alone goes below */
}

/* What is left of y, and its place in the space of the columns. */
typedef struct solution {
    double *residual, *parts; /* [n], [n_columns] = Q' y */
    double unexplained, explained, total;
} solution;

static void solve(const design *d, solution *s) {
    s->total = dot(s->residual, s->residual, d->n);
    project_out(d, s->residual, d->n_columns, s->parts, 1);
    s->unexplained = dot(s->residual, s->residual, d->n);
    s->explained = dot(s->parts, s->parts, d->n_columns);
}

/* Sum of squares of the errors of predicting each row by the fit to the others: residual / (1 - leverage). */
static double press(const design *d, const double *residual) {
    double sum = 0;
    for (size_t i = 0; i < d->n; i++) {
        double free = 1 - 1 / (double)d->n;
        for (size_t j = 0; j < d->n_columns; j++) free -= column_of(d, j)[i] * column_of(d, j)[i];
        if (free < 0x1p-40) return NAN; /* only this row holds some column: without it there is no fit */
        sum += residual[i] / free * (residual[i] / free);
    }
    return sum;
}

static qdisp_fit fit_of(const design *d, const solution *s) {
    double k = (double)d->n_columns, df = (double)d->n - k - 1, total = s->total > 0 ? s->total : NAN;
    qdisp_fit fit = {.n = d->n, .df = d->n - d->n_columns - 1};
    fit.r2 = s->explained < s->unexplained ? s->explained / total : 1 - s->unexplained / total; /* what rounds less */
    fit.adjusted_r2 = 1 - s->unexplained / df / (total / ((double)d->n - 1));
    fit.loo_r2 = 1 - press(d, s->residual) / total;
    fit.sigma = sqrt(s->unexplained / df);
    fit.f = d->n_columns > 0 ? s->explained / k / (s->unexplained / df) : NAN;
    /* df / (df + k F) is the unexplained share */
    fit.p = d->n_columns > 0 ? qd_beta_inc(df / 2, k / 2, s->unexplained / total, s->explained / total) : NAN;
    return fit;
}

static void fill_term(qdisp_table *t, qdisp_status *status, const char *name, double value, double error, double df,
                      double level, double vif) {
    double ratio = value / error, half = -qd_t_quantile((1 - level) / 2, df) * error;
    double cells[] = {value, error, ratio, qd_t_two_sided(ratio, df), value - half, value + half, vif};
    size_t row = qd_table_row(t, status);
    qd_table_str(t, status, row, 0, name);
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) qd_table_f64(t, status, row, 1 + i, cells[i]);
}

/* The table of coefficients; columns 1.. are in the order of fill_term's cells. */
static qdisp_status fill_coefficients(qdisp_table *t, design *d, const solution *s, double sigma, double level) {
    static const char *const columns[] = {"coefficient", "standard_error", "t", "p", "low", "high", "vif"};
    size_t k = d->n_columns;
    qdisp_status status = QDISP_OK;
    double df = (double)(d->n - k - 1), constant = d->means[0], shift = 0;
    char text[32];
    qd_table_column(t, &status, "term", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        qd_table_column(t, &status, columns[i], "", QDISP_COLUMN_F64);
    double *b = qd_alloc(d->ctx, k, sizeof *b);
    if (!b) return QDISP_ENOMEM;
    for (size_t j = 0; j < k; j++) {
        double along = 0; /* of the columns' means by column j of R^-1 */
        for (size_t m = j; m < k; m++) b[j] += d->inverse[j * k + m] * s->parts[m];
        for (size_t m = 0; m <= j; m++) along += d->inverse[m * k + j] * d->means[1 + m];
        constant -= b[j] * d->means[1 + j];
        shift += along * along;
    }
    fill_term(t, &status, "(constant)", constant, sigma * sqrt(1 / (double)d->n + shift), df, level, NAN);
    for (size_t j = 0; j < k; j++)
        fill_term(t, &status, column_name(d, j, text), b[j], sigma * unit_error(d, j), df, level, inflation(d, j));
    qd_free(d->ctx, b);
    return status;
}

qdisp_status qdisp_ols(qdisp_ctx *ctx, const double *y, const double *columns, const char *const *names,
                       size_t n_columns, size_t n, double level, qdisp_fit *fit, qdisp_table **coefficients) {
    design d = {.ctx = ctx, .what = "ols", .names = names, .n_lead = 1, .n_columns = n_columns};
    qdisp_table *t = NULL;
    if (!y || (n_columns > 0 && !columns) || !coefficients) return qd_fail(ctx, QDISP_EINVAL, "ols: NULL argument");
    QD_TRY(qd_check_test(ctx, "ols", QDISP_TWO_SIDED, level));
    QD_TRY(design_new(&d, &y, columns, n));
    solution s = {.residual = d.values, .parts = qd_alloc(ctx, n_columns, sizeof(double))};
    qdisp_fit result = {0};
    qdisp_status status = s.parts ? check_rows(&d) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = invert(&d);
    if (status == QDISP_OK) status = qdisp_table_new(ctx, "coefficients", "Least squares", &t);
    if (status == QDISP_OK) {
        solve(&d, &s);
        result = fit_of(&d, &s);
        status = fill_coefficients(t, &d, &s, result.sigma, level);
    }
    if (status == QDISP_OK) {
        if (fit) *fit = result;
        *coefficients = t;
    } else {
        qdisp_table_free(t);
    }
    qd_free(ctx, s.parts);
    design_clear(&d);
    return status;
}

qdisp_status qdisp_vif(qdisp_ctx *ctx, const double *columns, size_t n_columns, size_t n, double *vif) {
    design d = {.ctx = ctx, .what = "vif", .n_columns = n_columns};
    if (n_columns > 0 && (!columns || !vif)) return qd_fail(ctx, QDISP_EINVAL, "vif: NULL argument");
    QD_TRY(design_new(&d, NULL, columns, n));
    qdisp_status status = check_rows(&d);
    if (status == QDISP_OK) status = invert(&d);
    for (size_t j = 0; j < n_columns && status == QDISP_OK; j++) vif[j] = inflation(&d, j);
    design_clear(&d);
    return status;
}

static qdisp_status partial(qdisp_ctx *ctx, const char *what, bool is_semi, const double *x, const double *y,
                            const double *covariates, size_t k, size_t n, qdisp_alternative alternative, double level,
                            qdisp_correlation_test *out) {
    design d = {.ctx = ctx, .what = what, .n_lead = 2, .n_columns = k};
    const double *lead[2] = {x, y};
    if ((n > 0 && (!x || !y)) || (n > 0 && k > 0 && !covariates) || !out)
        return qd_fail(ctx, QDISP_EINVAL, "%s: NULL argument", what);
    QD_TRY(qd_check_test(ctx, what, alternative, level));
    QD_TRY(design_new(&d, lead, covariates, n));
    qdisp_correlation_test c = {.n = d.n, .r = NAN, .p = NAN, .low = NAN, .high = NAN};
    if (d.n >= k + 3) {
        double df = (double)(d.n - k - 2), unexplained = NAN;
        double *rest_x = d.values, *rest_y = d.values + d.n;
        bool defined = true;
        project_out(&d, rest_x, k, NULL, 0);
        defined &= sqrt(dot(rest_x, rest_x, d.n)) > d.norms[0] * 0x1p-26;
        if (is_semi && defined) c.r = qd_pearson(rest_x, rest_y, d.n, &unexplained);
        project_out(&d, rest_y, k, NULL, 0);
        defined &= sqrt(dot(rest_y, rest_y, d.n)) > d.norms[1] * 0x1p-26;
        double both_rest = defined ? qd_pearson(rest_x, rest_y, d.n, &unexplained) : NAN;
        if (!is_semi) {
            c.r = both_rest;
            qd_fisher_interval(c.r, unexplained, 1 / sqrt(df - 1), alternative, level, &c.low, &c.high);
        }
        c.p = qd_correlation_p(both_rest, unexplained, df, alternative);
    }
    *out = c;
    design_clear(&d);
    return QDISP_OK;
}

qdisp_status qdisp_partial(qdisp_ctx *ctx, const double *x, const double *y, const double *covariates,
                           size_t n_covariates, size_t n, qdisp_alternative alternative, double level,
                           qdisp_correlation_test *out) {
    return partial(ctx, "partial", false, x, y, covariates, n_covariates, n, alternative, level, out);
}

qdisp_status qdisp_semipartial(qdisp_ctx *ctx, const double *x, const double *y, const double *covariates,
                               size_t n_covariates, size_t n, qdisp_alternative alternative, double level,
                               qdisp_correlation_test *out) {
    return partial(ctx, "semipartial", true, x, y, covariates, n_covariates, n, alternative, level, out);
}

/* test_regress.c - least squares, variance inflation, partial correlations. Golden values are statsmodels' and numpy's
 * (test/golden/make_inference.py). */
#include "golden.h"

#include <qdisp/stats.h>

static qdisp_ctx *ctx;
static golden g;

static const double *f64(const qdisp_table *t, const char *name) {
    return qdisp_table_f64(t, qdisp_table_find(t, name));
}

/* Relative, against 60 digits: 1e-16 times the condition of the centred columns (10 here) and the sums' length; where
 * columns stand at 1e6 with a spread of 1, the constant is a difference of such numbers. statsmodels, which does not
 * centre, is at 1e-5 there, at 1e-12 in the others: make_inference.py prints it. */
static double tolerance_of(const double *columns) {
    return fabs(columns[0]) > 1e5 ? 1e-11 : 1e-13;
}

TEST(ols_is_exact) {
    static const char *const cells[] = {"coefficient", "standard_error", "t", "p", "low", "high", "vif"};
    int n_fits = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "ols")) continue;
        size_t n = (size_t)g.v[0], k = (size_t)g.v[1];
        const double *v = g.v + 2, *y = v + 6, *columns = y + n, *terms = columns + n * k;
        double tolerance = tolerance_of(columns), vif[16];
        qdisp_fit fit;
        qdisp_table *t = NULL;
        CHECK(g.n == 8 + n * (k + 1) + 7 * (k + 1));
        CHECK_STATUS(qdisp_ols(ctx, y, columns, NULL, k, n, 0.95, &fit, &t), QDISP_OK);
        CHECK(fit.n == n && fit.df == n - k - 1 && qdisp_table_n_rows(t) == k + 1);
        CHECK_NEAR(fit.r2, v[0], tolerance);
        CHECK(fabs(fit.adjusted_r2 - v[1]) < tolerance); /* may be near 0 */
        CHECK(fabs(fit.loo_r2 - v[2]) < tolerance * (1 + fabs(v[2])));
        CHECK_NEAR(fit.sigma, v[3], tolerance);
        CHECK_NEAR(fit.f, v[4], 10 * tolerance);
        CHECK_NEAR(fit.p, v[5], 100 * tolerance); /* the F distribution amplifies by its degrees of freedom */
        for (size_t row = 0; row <= k; row++)
            for (size_t i = 0; i < 7; i++) {
                double expected = terms[7 * row + i], got = f64(t, cells[i])[row];
                /* coefficients and ends of intervals may be near 0: beside their standard error */
                double scale = fabs(expected) * (i == 3 ? 100 : 1); /* p: amplified by the degrees of freedom */
                if (i == 0 || i == 4 || i == 5) scale += terms[7 * row + 1];
                CHECK(isnan(expected) ? isnan(got) : fabs(got - expected) <= 10 * tolerance * scale);
            }
        CHECK_STATUS(qdisp_vif(ctx, columns, k, n, vif), QDISP_OK);
        for (size_t j = 0; j < k; j++) CHECK(vif[j] == f64(t, "vif")[1 + j]);
        CHECK_STR(qdisp_table_str(t, 0)[0], "(constant)");
        CHECK_STR(qdisp_table_str(t, 0)[1], "x1");
        qdisp_table_free(t);
        n_fits++;
    }
    CHECK(n_fits == 6);
}

TEST(leverages_give_what_refitting_gives) {
    enum { N = 12, K = 2 };
    double y[N], x[K * N], sum = 0, press = 0, total = 0;
    for (int i = 0; i < N; i++) {
        x[i] = sin(i);
        x[N + i] = i * i * 0.1;
        y[i] = 1 + x[i] - 0.2 * x[N + i] + cos(3 * i);
        sum += y[i] / N;
    }
    qdisp_fit whole;
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_ols(ctx, y, x, NULL, K, N, 0.95, &whole, &t), QDISP_OK);
    qdisp_table_free(t);
    for (int i = 0; i < N; i++) {
        double kept = y[i];
        y[i] = NAN; /* leaves the row out */
        CHECK_STATUS(qdisp_ols(ctx, y, x, NULL, K, N, 0.95, NULL, &t), QDISP_OK);
        y[i] = kept;
        const double *b = f64(t, "coefficient");
        double error = y[i] - (b[0] + b[1] * x[i] + b[2] * x[N + i]);
        press += error * error;
        total += (y[i] - sum) * (y[i] - sum);
        qdisp_table_free(t);
    }
    CHECK_NEAR(whole.loo_r2, 1 - press / total, 1e-12);
    CHECK(whole.loo_r2 < whole.adjusted_r2 && whole.adjusted_r2 < whole.r2);
}

TEST(an_exact_fit_and_no_columns) {
    double x[6] = {1, 2, 3, 4, 5, 7}, y[6], c[6] = {3, 3, 3, 3, 3, 3};
    qdisp_fit fit;
    qdisp_table *t = NULL;
    for (int i = 0; i < 6; i++) y[i] = 2 * x[i] - 5;
    CHECK_STATUS(qdisp_ols(ctx, y, x, NULL, 1, 6, 0.95, &fit, &t), QDISP_OK);
    CHECK_NEAR(fit.r2, 1, 1e-15);
    CHECK_NEAR(f64(t, "coefficient")[0], -5, 1e-14);
    CHECK_NEAR(f64(t, "coefficient")[1], 2, 1e-15);
    CHECK(fit.p < 1e-50 && f64(t, "vif")[1] == 1);
    qdisp_table_free(t);
    CHECK_STATUS(qdisp_ols(ctx, c, x, NULL, 1, 6, 0.95, &fit, &t), QDISP_OK); /* nothing to explain */
    CHECK(isnan(fit.r2) && isnan(fit.loo_r2) && isnan(fit.p) && fit.sigma == 0);
    CHECK(f64(t, "coefficient")[0] == 3 && f64(t, "coefficient")[1] == 0);
    qdisp_table_free(t);
    CHECK_STATUS(qdisp_ols(ctx, x, NULL, NULL, 0, 6, 0.95, &fit, &t), QDISP_OK); /* the mean */
    CHECK(fit.r2 == 0 && isnan(fit.f) && isnan(fit.p) && fit.df == 5);
    CHECK_NEAR(f64(t, "coefficient")[0], 22.0 / 6, 1e-15);
    qdisp_table_free(t);
}

/* A column that only one row holds: without the row there is nothing to fit. Its leverage is 1 up to rounding. */
TEST(no_leave_one_out_at_leverage_1) {
    for (int row = 0; row < 9; row++) {
        double y[9], columns[27];
        qdisp_fit fit;
        qdisp_table *t = NULL;
        for (int i = 0; i < 9; i++) {
            y[i] = cos(5 * i);
            columns[i] = sin(i);
            columns[9 + i] = 0.1 * i * i;
            columns[18 + i] = i == row ? 0.7 : 0.1;
        }
        CHECK_STATUS(qdisp_ols(ctx, y, columns, NULL, 3, 9, 0.95, &fit, &t), QDISP_OK);
        CHECK(isnan(fit.loo_r2) && fit.r2 > 0 && fit.r2 < 1);
        qdisp_table_free(t);
    }
}

/* Columns that differ by 1e-7 of their length: Q stays orthogonal, so squares still add up. */
TEST(nearly_dependent_columns) {
    enum { N = 20 };
    double y[N], columns[3 * N], mean = 0, total = 0;
    qdisp_fit fit;
    qdisp_table *t = NULL;
    for (int i = 0; i < N; i++) {
        columns[i] = sin(i);
        columns[N + i] = sin(i) + 1e-7 * cos(2 * i);
        columns[2 * N + i] = sin(i) - 1e-7 * sin(3 * i);
        y[i] = cos(2 * i) + 0.4 * cos(i * i) + sin(i);
        mean += y[i] / N;
    }
    for (int i = 0; i < N; i++) total += (y[i] - mean) * (y[i] - mean);
    CHECK_STATUS(qdisp_ols(ctx, y, columns, NULL, 3, N, 0.95, &fit, &t), QDISP_OK);
    double unexplained = fit.sigma * fit.sigma * (double)fit.df, explained = fit.f * 3 * fit.sigma * fit.sigma;
    CHECK_NEAR(explained + unexplained, total, 1e-14);
    CHECK(f64(t, "vif")[2] > 1e13);
    qdisp_table_free(t);
}

TEST(what_cannot_be_fitted_is_named) {
    double y[6] = {1, 3, 2, 5, 4, 6}, x[18] = {1, 2, 3, 4, 5, 7, 2, 1, 2, 1, 2, 1}, vif[3];
    const char *names[3] = {"outliers", "latin", "sum"};
    qdisp_fit fit = {.n = 77};
    qdisp_table *t = NULL;
    for (int i = 0; i < 6; i++) x[12 + i] = 0.3 * x[i] - 7 * x[6 + i] + 2; /* with the constant: dependent */
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 3, 6, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "column sum is a linear combination");
    CHECK_STATUS(qdisp_vif(ctx, x, 3, 6, vif), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "column x3");
    x[12] += 1e-4;
    CHECK_STATUS(qdisp_vif(ctx, x, 3, 6, vif), QDISP_OK);
    CHECK(vif[2] > 1e6);
    for (int i = 0; i < 6; i++) x[6 + i] = 0.1;
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 2, 6, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "column latin is constant");
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 1, 2, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "2 complete rows, 3 are needed");
    double gaps[6] = {1, NAN, 2, NAN, NAN, NAN};
    CHECK_STATUS(qdisp_ols(ctx, gaps, x, names, 1, 6, 0.95, &fit, &t), QDISP_EINVAL);
    y[4] = INFINITY;
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 1, 6, 0.95, &fit, &t), QDISP_ENUMERIC);
    CHECK_HAS(qdisp_ctx_error(ctx), "row 4");
    CHECK_STATUS(qdisp_ols(ctx, NULL, x, names, 1, 6, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_ols(ctx, y, NULL, names, 1, 6, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 1, 6, 0.95, &fit, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, 1, 6, 1.5, &fit, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_ols(ctx, y, x, names, SIZE_MAX / 2, 6, 0.95, &fit, &t), QDISP_EINVAL);
    CHECK(t == NULL && fit.n == 77);
}

TEST(partial_is_numpys_and_p_is_that_of_the_coefficient) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "partial")) continue;
        size_t n = (size_t)g.v[0], k = (size_t)g.v[1];
        const double *v = g.v + 2, *x = v + 5, *y = x + n, *z = y + n;
        qdisp_correlation_test c, semi;
        CHECK_STATUS(qdisp_partial(ctx, x, y, z, k, n, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
        CHECK_NEAR(c.r, v[0], 1e-13);
        CHECK_NEAR(c.p, v[1], 1e-10);
        CHECK(c.n == n);
        CHECK(isnan(v[2]) ? isnan(c.low) : fabs(c.low - v[2]) < 1e-12 && fabs(c.high - v[3]) < 1e-12);
        CHECK_STATUS(qdisp_semipartial(ctx, x, y, z, k, n, QDISP_TWO_SIDED, 0.95, &semi), QDISP_OK);
        CHECK_NEAR(semi.r, v[4], 1e-12);
        CHECK(semi.p == c.p && isnan(semi.low) && isnan(semi.high));
        CHECK(fabs(semi.r) <= fabs(c.r) + 1e-15); /* a part of all of y, not of what is left */
        n_rows++;
    }
    CHECK(n_rows == 6);
}

/* The square of the semipartial correlation is the R^2 that x adds. */
TEST(semipartial_is_the_gain_of_r2) {
    enum { N = 15 };
    double y[N], columns[2 * N];
    qdisp_fit without, with;
    qdisp_table *t = NULL;
    qdisp_correlation_test c;
    for (int i = 0; i < N; i++) {
        columns[i] = i % 4;
        columns[N + i] = sin(2.2 * i) + 0.3 * (i % 4);
        y[i] = cos(i) + columns[i] + 0.7 * columns[N + i];
    }
    CHECK_STATUS(qdisp_ols(ctx, y, columns, NULL, 1, N, 0.95, &without, &t), QDISP_OK);
    qdisp_table_free(t);
    CHECK_STATUS(qdisp_ols(ctx, y, columns, NULL, 2, N, 0.95, &with, &t), QDISP_OK);
    CHECK_STATUS(qdisp_semipartial(ctx, columns + N, y, columns, 1, N, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK_NEAR(c.r * c.r, with.r2 - without.r2, 1e-12);
    CHECK_NEAR(c.p, f64(t, "p")[2], 1e-12);
    qdisp_table_free(t);
    double p[3];
    for (int a = 0; a < 3; a++) {
        CHECK_STATUS(qdisp_partial(ctx, columns + N, y, columns, 1, N, (qdisp_alternative)a, 0.95, &c), QDISP_OK);
        p[a] = c.p;
    }
    CHECK_NEAR(p[0], 2 * fmin(p[1], p[2]), 1e-14);
    CHECK_NEAR(p[1] + p[2], 1, 1e-14);
}

TEST(partial_at_the_edges) {
    double x[6] = {1, 2, 3, 4, 5, 7}, y[6] = {1, 3, 2, 5, 4, 6}, z[6] = {2, 4, 6, 8, 10, 14}, c[6] = {1, 1, 1, 1, 1, 1};
    double w[6] = {1, 0, 0, 1, 1, 0};
    qdisp_correlation_test a, b;
    memset(&b, 0, sizeof b);
    CHECK_STATUS(qdisp_partial(ctx, x, y, NULL, 0, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK); /* no covariates */
    CHECK_STATUS(qdisp_pearson(ctx, x, y, 6, QDISP_TWO_SIDED, 0.95, &b), QDISP_OK);
    CHECK_NEAR(a.r, b.r, 1e-15);
    CHECK_NEAR(a.p, b.p, 1e-14);
    CHECK_NEAR(a.low, b.low, 1e-14);
    CHECK_STATUS(qdisp_partial(ctx, x, y, z, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK); /* z = 2 x */
    CHECK(isnan(a.r) && isnan(a.p) && a.n == 6);
    CHECK_STATUS(qdisp_semipartial(ctx, x, y, z, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(isnan(a.r) && isnan(a.p));
    CHECK_STATUS(qdisp_partial(ctx, x, c, w, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK); /* y is constant */
    CHECK(isnan(a.r));
    CHECK_STATUS(qdisp_partial(ctx, x, y, c, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "x1 is constant");
    CHECK_STATUS(qdisp_partial(ctx, x, y, w, 1, 3, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK); /* no degree of freedom */
    CHECK(isnan(a.r) && isnan(a.p) && a.n == 3);
    w[2] = NAN;
    CHECK_STATUS(qdisp_partial(ctx, x, y, w, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.n == 5 && a.r > 0 && a.p > 0);
    CHECK_STATUS(qdisp_partial(ctx, x, NULL, w, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_EINVAL);
    CHECK_STATUS(qdisp_partial(ctx, x, y, NULL, 1, 6, QDISP_TWO_SIDED, 0.95, &a), QDISP_EINVAL);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(ols_is_exact);
    RUN(leverages_give_what_refitting_gives);
    RUN(an_exact_fit_and_no_columns);
    RUN(no_leave_one_out_at_leverage_1);
    RUN(nearly_dependent_columns);
    RUN(what_cannot_be_fitted_is_named);
    RUN(partial_is_numpys_and_p_is_that_of_the_coefficient);
    RUN(semipartial_is_the_gain_of_r2);
    RUN(partial_at_the_edges);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

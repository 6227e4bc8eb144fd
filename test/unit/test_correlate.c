/* test_correlate.c - Pearson, Spearman, Kendall: golden values (test/golden/make_inference.py), edges. */
#include "golden.h"

#include "stats/correlate.h"

static qdisp_ctx *ctx;
static golden g;

typedef qdisp_status (*correlation)(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                    qdisp_alternative alternative, double level, qdisp_correlation_test *out);

/* Every data set of the golden file by one method. The first numbers are of 60-digit arithmetic; scipy's p stand beside
 * them and must agree to 1e-10 wherever they are that good themselves. */
static void check_golden(const char *word, correlation correlate, double p_tolerance) {
    static double data[4096];
    size_t n = 0;
    int n_sets = 0, n_scipy = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (!strcmp(g.word, "pairs")) {
            n = (size_t)g.v[0];
            CHECK(g.n == 1 + 2 * n);
            memcpy(data, g.v + 1, 2 * n * sizeof *data);
        }
        if (strcmp(g.word, word)) continue;
        qdisp_correlation_test c, swapped;
        for (int a = 0; a < 3; a++) {
            CHECK_STATUS(correlate(ctx, data, data + n, n, (qdisp_alternative)a, 0.95, &c), QDISP_OK);
            CHECK(c.n == n);
            CHECK_NEAR(c.r, g.v[0], 4e-16);
            CHECK_NEAR(c.p, g.v[1 + a], p_tolerance);
            if (fabs(g.v[7 + a] - g.v[1 + a]) <= 1e-11 * g.v[1 + a]) {
                CHECK_NEAR(c.p, g.v[7 + a], 1e-10);
                n_scipy++;
            }
            CHECK_STATUS(correlate(ctx, data + n, data, n, (qdisp_alternative)a, 0.95, &swapped), QDISP_OK);
            CHECK_NEAR(swapped.r, c.r, 4e-16);
            CHECK_NEAR(swapped.p, c.p, p_tolerance);
            if (a == QDISP_TWO_SIDED) {
                CHECK(isnan(g.v[4]) ? isnan(c.low) : fabs(c.low - g.v[4]) < 1e-14 && fabs(c.high - g.v[5]) < 1e-14);
            } else if (a == QDISP_GREATER && !isnan(g.v[6])) {
                CHECK(fabs(c.low - g.v[6]) < 1e-14 && c.high == 1);
            } else if (!isnan(g.v[6])) {
                CHECK(c.low == -1 && c.high < 1 + 1e-15);
            }
        }
        n_sets++;
    }
    CHECK(n_sets == 41);
    CHECK(n_scipy >= 112); /* of 123; the others are r next to 1 and data far from zero */
}

/* p of r next to 1: 1 - r^2 has 30 digits less what cancels, the rest is special.h's 1e-13. */
TEST(pearson_is_exact_and_scipys) {
    check_golden("pearson", qdisp_pearson, 1e-12);
}
TEST(spearman_is_exact_and_scipys) {
    check_golden("spearman", qdisp_spearman, 1e-12);
}
TEST(kendall_is_exact_and_scipys) {
    check_golden("kendall", qdisp_kendall, 1e-12);
}

static const correlation all[3] = {qdisp_pearson, qdisp_spearman, qdisp_kendall};

TEST(too_few_constant_and_missing) {
    double x[7] = {1, NAN, 2, 3, 4, 5.5, 7}, y[7] = {2, 5, 3, NAN, 4, 9, 8}, c[7] = {5, 5, 5, 5, 5, 5, 5};
    double clean_x[5] = {1, 2, 4, 5.5, 7}, clean_y[5] = {2, 3, 4, 9, 8};
    for (int k = 0; k < 3; k++) {
        qdisp_correlation_test a, b;
        memset(&b, 0, sizeof b);
        CHECK_STATUS(all[k](ctx, x, y, 7, QDISP_TWO_SIDED, 0.9, &a), QDISP_OK);
        CHECK_STATUS(all[k](ctx, clean_x, clean_y, 5, QDISP_TWO_SIDED, 0.9, &b), QDISP_OK);
        CHECK(a.n == 5 && b.n == 5 && a.r == b.r && a.p == b.p && a.low == b.low && a.high == b.high && a.r > 0.5);
        CHECK_STATUS(all[k](ctx, x, c, 7, QDISP_TWO_SIDED, 0.9, &a), QDISP_OK);
        CHECK(a.n == 6 && isnan(a.r) && isnan(a.p) && isnan(a.low) && isnan(a.high));
        CHECK_STATUS(all[k](ctx, c, clean_y, 5, QDISP_LESS, 0.9, &a), QDISP_OK);
        CHECK(isnan(a.r) && isnan(a.p) && isnan(a.low) && isnan(a.high));
        for (size_t n = 0; n < 3; n++) {
            CHECK_STATUS(all[k](ctx, clean_x, clean_y, n, QDISP_TWO_SIDED, 0.9, &a), QDISP_OK);
            CHECK(a.n == n && isnan(a.r) && isnan(a.p) && isnan(a.low));
        }
        CHECK_STATUS(all[k](ctx, clean_x, clean_y, 3, QDISP_TWO_SIDED, 0.9, &a), QDISP_OK);
        CHECK((k == 0 ? a.r < 1 && a.r > 0.9 : a.r == 1) && isnan(a.low) && isnan(a.high)); /* 1 2 4, 2 3 4: no line */
        CHECK_STATUS(all[k](ctx, NULL, NULL, 0, QDISP_TWO_SIDED, 0.9, &a), QDISP_OK);
        CHECK(a.n == 0 && isnan(a.r));
    }
}

TEST(bad_arguments) {
    double x[4] = {1, 2, 3, 4}, y[4] = {1, 3, 2, 4};
    for (int k = 0; k < 3; k++) {
        qdisp_correlation_test c = {.r = 7, .n = 7};
        CHECK_STATUS(all[k](ctx, NULL, y, 4, QDISP_TWO_SIDED, 0.95, &c), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, NULL, 4, QDISP_TWO_SIDED, 0.95, &c), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, y, 4, QDISP_TWO_SIDED, 0.95, NULL), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, y, 4, (qdisp_alternative)3, 0.95, &c), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, y, 4, QDISP_TWO_SIDED, 1, &c), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, y, 4, QDISP_TWO_SIDED, 0, &c), QDISP_EINVAL);
        CHECK_STATUS(all[k](ctx, x, y, 4, QDISP_TWO_SIDED, NAN, &c), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), "level nan");
        CHECK(c.r == 7 && c.n == 7);
    }
}

TEST(infinities_have_ranks_and_no_sum) {
    double x[5] = {-INFINITY, 0, 1, 3, INFINITY}, y[5] = {1, 2, 4, 3, 9};
    qdisp_correlation_test c;
    CHECK_STATUS(qdisp_pearson(ctx, x, y, 5, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK(isnan(c.r) && isnan(c.p) && c.n == 5);
    CHECK_STATUS(qdisp_spearman(ctx, x, y, 5, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK_NEAR(c.r, 0.9, 1e-15);
    CHECK_STATUS(qdisp_kendall(ctx, x, y, 5, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK_NEAR(c.r, 0.8, 1e-15);
}

TEST(invariances) {
    /* scaling by powers of two changes nothing at all; a sign turns the coefficient and the alternatives round */
    double x[30], y[30], scaled[30], negative[30];
    for (int i = 0; i < 30; i++) {
        x[i] = sin(i * 1.3) + 0.05 * i;
        y[i] = cos(i * 0.9) + 0.04 * i;
        scaled[i] = ldexp(x[i], -900);
        negative[i] = -y[i];
    }
    for (int k = 0; k < 3; k++) {
        qdisp_correlation_test a, b;
        CHECK_STATUS(all[k](ctx, x, y, 30, QDISP_GREATER, 0.95, &a), QDISP_OK);
        CHECK_STATUS(all[k](ctx, scaled, y, 30, QDISP_GREATER, 0.95, &b), QDISP_OK);
        CHECK(!memcmp(&a, &b, sizeof a));
        CHECK_STATUS(all[k](ctx, x, negative, 30, QDISP_LESS, 0.95, &b), QDISP_OK);
        CHECK(b.r == -a.r);
        CHECK_NEAR(b.p, a.p, 1e-15);
        CHECK_NEAR(b.high, -a.low, 1e-15);
    }
}

TEST(lines_are_perfect) {
    double x[12], up[12], down[12];
    for (int i = 0; i < 12; i++) x[i] = 1.0 / (i + 3), up[i] = 1e6 * x[i], down[i] = -4 * x[i];
    for (int k = 0; k < 3; k++) {
        qdisp_correlation_test c;
        CHECK_STATUS(all[k](ctx, x, down, 12, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
        CHECK(c.r == -1 && c.low == -1 && c.high == -1);
        CHECK(k == 2 ? fabs(c.p * 479001600 / 2 - 1) < 1e-14 : c.p == 0); /* 2 / 12! */
        CHECK_STATUS(all[k](ctx, x, down, 12, QDISP_GREATER, 0.95, &c), QDISP_OK);
        CHECK(c.p == 1 && c.low == -1 && c.high == 1);
        CHECK_STATUS(all[k](ctx, x, up, 12, QDISP_GREATER, 0.95, &c), QDISP_OK);
        CHECK(c.r == 1); /* rounded products: 1 - r^2 is 1e-33 */
    }
}

/* tau-b over all pairs, the definition */
static double tau(const double *x, const double *y, size_t n) {
    double s = 0, free_x = 0, free_y = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
            s += a * b;
            free_x += a != 0;
            free_y += b != 0;
        }
    return s / sqrt(free_x) / sqrt(free_y);
}

TEST(kendall_counts_as_the_definition) {
    double x[257], y[257];
    unsigned state = 1;
    for (size_t n = 3; n <= 257; n += n < 20 ? 1 : 17)
        for (unsigned levels = 2; levels < 2000; levels *= 5) {
            for (size_t i = 0; i < n; i++) {
                state = state * 1664525 + 1013904223;
                x[i] = (double)(state >> 8) / 1677.0;
                x[i] = floor(fmod(x[i], levels));
                state = state * 1664525 + 1013904223;
                y[i] = floor(fmod((double)(state >> 8), levels)) + (i % 3 == 0 ? x[i] : 0);
            }
            qdisp_correlation_test c;
            CHECK_STATUS(qdisp_kendall(ctx, x, y, n, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
            double expected = tau(x, y, n);
            CHECK(isnan(expected) ? isnan(c.r) : fabs(c.r - expected) < 1e-15);
            CHECK(isnan(expected) || (c.p >= 0 && c.p <= 1));
        }
}

TEST(kendall_of_long_sorted_data) {
    static double x[3000], y[3000];
    qdisp_correlation_test c;
    for (int i = 0; i < 3000; i++) x[i] = y[i] = i;
    CHECK_STATUS(qdisp_kendall(ctx, x, y, 3000, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK(c.r == 1 && c.p == 0); /* 2 / 3000! is no double */
    CHECK_STATUS(qdisp_kendall(ctx, x, y, 100, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    CHECK_NEAR(c.p, 2 / 9.332621544394415268e157, 1e-14); /* 100! */
    y[0] = 1, y[1] = 0;
    CHECK_STATUS(qdisp_kendall(ctx, x, y, 100, QDISP_GREATER, 0.95, &c), QDISP_OK);
    CHECK_NEAR(c.p, 100 / 9.332621544394415268e157, 1e-13); /* none or one of 99 exchanges */
}

static const double *f64(const qdisp_table *t, const char *name) {
    return qdisp_table_f64(t, qdisp_table_find(t, name));
}

TEST(leave_one_out_is_what_it_says) {
    double x[8] = {1, 2, 3, NAN, 5, 6, 7, 20}, y[8] = {2, 1, 4, 3, 5, 8, 6, -9};
    for (int k = 0; k < 3; k++) {
        qdisp_table *t = NULL;
        qdisp_correlation_test whole, c;
        CHECK_STATUS(qdisp_leave_one_out(ctx, (qdisp_correlation)k, x, y, NULL, 8, 0.9, &t), QDISP_OK);
        CHECK(qdisp_table_n_rows(t) == 7);
        CHECK_STATUS(all[k](ctx, x, y, 8, QDISP_TWO_SIDED, 0.9, &whole), QDISP_OK);
        for (size_t row = 0, i = 0; i < 8; i++) {
            if (i == 3) continue;
            double kept = x[i];
            char index[8];
            x[i] = NAN;
            CHECK_STATUS(all[k](ctx, x, y, 8, QDISP_TWO_SIDED, 0.9, &c), QDISP_OK);
            x[i] = kept;
            snprintf(index, sizeof index, "%zu", i);
            CHECK_STR(qdisp_table_str(t, 0)[row], index);
            CHECK(qdisp_table_i64(t, 1)[row] == 6);
            CHECK(f64(t, "r")[row] == c.r && f64(t, "p")[row] == c.p && f64(t, "low")[row] == c.low &&
                  f64(t, "high")[row] == c.high && f64(t, "change")[row] == c.r - whole.r);
            row++;
        }
        CHECK(f64(t, "change")[6] > 0.3); /* the outlier was all of it */
        qdisp_table_free(t);
    }
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_leave_one_out(ctx, (qdisp_correlation)3, x, y, NULL, 8, 0.9, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_leave_one_out(ctx, QDISP_CORRELATION_PEARSON, x, NULL, NULL, 8, 0.9, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_leave_one_out(ctx, QDISP_CORRELATION_PEARSON, x, y, NULL, 8, 2, &t), QDISP_EINVAL);
    CHECK(t == NULL);
    CHECK_STATUS(qdisp_leave_one_out(ctx, QDISP_CORRELATION_PEARSON, x, y, NULL, 2, 0.9, &t), QDISP_OK);
    CHECK(qdisp_table_n_rows(t) == 2 && isnan(f64(t, "r")[0]) && isnan(f64(t, "change")[1]));
    qdisp_table_free(t);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(pearson_is_exact_and_scipys);
    RUN(spearman_is_exact_and_scipys);
    RUN(kendall_is_exact_and_scipys);
    RUN(too_few_constant_and_missing);
    RUN(bad_arguments);
    RUN(infinities_have_ranks_and_no_sum);
    RUN(invariances);
    RUN(lines_are_perfect);
    RUN(kendall_counts_as_the_definition);
    RUN(kendall_of_long_sorted_data);
    RUN(leave_one_out_is_what_it_says);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

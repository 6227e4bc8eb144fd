/* test_hypotheses.c - t tests, equivalence, proportions, several tests at once, power. Golden values are scipy's and
 * statsmodels' (test/golden/make_inference.py). */
#include "golden.h"

#include <qdisp/stats.h>

static qdisp_ctx *ctx;
static golden g;

TEST(paired_and_welch_are_scipys) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        int paired = !strcmp(g.word, "paired");
        if (!paired && strcmp(g.word, "welch")) continue;
        size_t n_x = (size_t)g.v[0], n_y = paired ? n_x : (size_t)g.v[1];
        const double *v = g.v + (paired ? 1 : 2), *x = v + 8, *y = x + n_x; /* difference, SE or DF, t, p, p, p, ends */
        for (int a = 0; a < 3; a++) {
            qdisp_t_test t;
            CHECK_STATUS(paired ? qdisp_t_test_paired(ctx, x, y, n_x, (qdisp_alternative)a, 0.95, &t)
                                : qdisp_t_test_welch(ctx, x, n_x, y, n_y, (qdisp_alternative)a, 0.95, &t), QDISP_OK);
            CHECK(t.n_x == n_x && t.n_y == n_y);
            CHECK_NEAR(t.difference, v[0], 1e-13); /* means of up to 120 values of order 1 */
            CHECK_NEAR(paired ? t.standard_error : t.df, v[1], 1e-13);
            CHECK_NEAR(t.t, v[2], 1e-12);
            CHECK_NEAR(t.p, v[3 + a], 1e-10);
            if (a == QDISP_TWO_SIDED) {
                CHECK(fabs(t.low - v[6]) < 1e-11 * (fabs(v[6]) + 1) && fabs(t.high - v[7]) < 1e-11 * (fabs(v[7]) + 1));
            } else {
                CHECK(a == QDISP_LESS ? t.low == -INFINITY && t.high > t.difference
                                      : t.high == INFINITY && t.low < t.difference);
            }
        }
        n_rows++;
    }
    CHECK(n_rows == 8);
}

TEST(t_tests_at_the_edges) {
    double x[5] = {1, 2, NAN, 4, 8}, y[5] = {1, 1, 5, NAN, 3}, ones[4] = {3, 3, 3, 3}, zeros[4] = {0};
    double difference[3] = {0, 1, 5}, huge[2] = {1e308, -1e308};
    qdisp_t_test a, b;
    CHECK_STATUS(qdisp_t_test_paired(ctx, x, y, 5, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK_STATUS(qdisp_t_test_paired(ctx, difference, NULL, 3, QDISP_TWO_SIDED, 0.95, &b), QDISP_OK);
    CHECK(a.n_x == 3 && a.t == b.t && a.p == b.p && a.low == b.low && a.df == 2 && a.difference == 2);
    CHECK_STATUS(qdisp_t_test_paired(ctx, ones, NULL, 4, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.standard_error == 0 && a.t == INFINITY && a.p == 0 && a.low == 3 && a.high == 3);
    CHECK_STATUS(qdisp_t_test_paired(ctx, ones, ones, 4, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.difference == 0 && a.standard_error == 0 && isnan(a.t) && isnan(a.p));
    CHECK_STATUS(qdisp_t_test_paired(ctx, x, y, 1, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.n_x == 1 && isnan(a.difference) && isnan(a.p) && isnan(a.df) && isnan(a.low));
    CHECK_STATUS(qdisp_t_test_paired(ctx, NULL, NULL, 0, QDISP_LESS, 0.95, &a), QDISP_OK);
    CHECK(a.n_x == 0 && isnan(a.p) && isnan(a.low));
    CHECK_STATUS(qdisp_t_test_paired(ctx, huge, NULL, 2, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.difference == 0 && a.t == 0 && a.p == 1);
    CHECK_NEAR(a.standard_error, 1e308, 1e-15);
    double infinite[3] = {1, INFINITY, 2};
    CHECK_STATUS(qdisp_t_test_paired(ctx, infinite, infinite, 3, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.n_x == 3 && isnan(a.difference) && isnan(a.p)); /* infinity minus infinity is no missing value */
    CHECK_STATUS(qdisp_t_test_welch(ctx, x, 5, ones, 4, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(a.n_x == 4 && a.n_y == 4 && a.df == 3); /* all the variance is x's */
    CHECK_STATUS(qdisp_t_test_welch(ctx, ones, 4, zeros, 3, QDISP_GREATER, 0.95, &a), QDISP_OK);
    CHECK(a.t == INFINITY && a.p == 0 && a.df == 5);
    CHECK_STATUS(qdisp_t_test_welch(ctx, x, 5, y, 1, QDISP_TWO_SIDED, 0.95, &a), QDISP_OK);
    CHECK(isnan(a.p) && a.n_y == 1);
    CHECK_STATUS(qdisp_t_test_welch(ctx, x, 5, NULL, 4, QDISP_TWO_SIDED, 0.95, &a), QDISP_EINVAL);
    CHECK_STATUS(qdisp_t_test_welch(ctx, x, 5, y, 5, QDISP_TWO_SIDED, 0.95, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_t_test_paired(ctx, NULL, y, 5, QDISP_TWO_SIDED, 0.95, &a), QDISP_EINVAL);
    CHECK_STATUS(qdisp_t_test_paired(ctx, x, y, 5, (qdisp_alternative)9, 0.95, &a), QDISP_EINVAL);
    CHECK_STATUS(qdisp_t_test_paired(ctx, x, y, 5, QDISP_LESS, 0, &a), QDISP_EINVAL);
}

TEST(tost_is_statsmodels) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "tost")) continue;
        size_t n = (size_t)g.v[0];
        const double *v = g.v + 1, *x = v + 6;
        qdisp_tost r;
        CHECK_STATUS(qdisp_tost_paired(ctx, x, x + n, n, v[0], v[1], 0.05, &r), QDISP_OK);
        CHECK_NEAR(r.p_low, v[2], 1e-10);
        CHECK_NEAR(r.p_high, v[3], 1e-10);
        CHECK(r.p == fmax(r.p_low, r.p_high) && r.n == n);
        CHECK(fabs(r.low - v[4]) < 1e-11 * (fabs(v[4]) + 1) && fabs(r.high - v[5]) < 1e-11 * (fabs(v[5]) + 1));
        CHECK(r.equivalent == (r.low > v[0] && r.high < v[1]) && r.equivalent == (r.p < 0.05));
        n_rows++;
    }
    CHECK(n_rows == 4);
}

TEST(tost_at_the_edges) {
    double same[4] = {0.5, 0.5, 0.5, 0.5};
    qdisp_tost r = {.n = 7};
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, -1, 1, 0.05, &r), QDISP_OK);
    CHECK(r.p == 0 && r.equivalent == 1 && r.low == 0.5 && r.high == 0.5);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, -1, 0.5, 0.05, &r), QDISP_OK); /* on the margin: not within */
    CHECK(r.p == 1 && r.equivalent == 0);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 1, -1, 1, 0.05, &r), QDISP_OK);
    CHECK(isnan(r.p) && r.equivalent == 0 && r.n == 1);
    r.n = 7;
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, 1, 1, 0.05, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, NAN, 1, 0.05, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, 0, INFINITY, 0.05, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, 0, 1, 0.5, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tost_paired(ctx, NULL, NULL, 4, 0, 1, 0.05, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tost_paired(ctx, same, NULL, 4, 0, 1, 0.05, NULL), QDISP_EINVAL);
    CHECK(r.n == 7);
}

TEST(fisher_is_scipys) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "fisher")) continue;
        uint64_t table[4];
        for (int i = 0; i < 4; i++) table[i] = (uint64_t)g.v[i];
        for (int a = 0; a < 3; a++) {
            double odds = 7, p = 7;
            CHECK_STATUS(qdisp_fisher_exact(ctx, table, (qdisp_alternative)a, &odds, &p), QDISP_OK);
            CHECK_NEAR(odds, g.v[4], 1e-15);
            CHECK_NEAR(p, g.v[5 + a], 1e-10);
        }
        n_rows++;
    }
    CHECK(n_rows == 25);
}

/* By the definition: all tables of the margins, in 80 or 128 bits. */
static void enumerate(const uint64_t t[4], double p[3]) {
    uint64_t row = t[0] + t[1], column = t[0] + t[2], n = row + t[2] + t[3];
    uint64_t from = row + column > n ? row + column - n : 0, to = row < column ? row : column;
    long double weight = 1, weights[64], total = 0, sums[3] = {0, 0, 0};
    for (uint64_t k = from; k <= to; k++) {
        weights[k - from] = weight;
        total += weight;
        weight *= (long double)((row - k) * (column - k)) / (long double)((k + 1) * (n + k + 1 - row - column));
    }
    for (uint64_t k = from; k <= to; k++) {
        if (weights[k - from] <= weights[t[0] - from] * (1 + 1e-12L)) sums[0] += weights[k - from];
        if (k <= t[0]) sums[1] += weights[k - from];
        if (k >= t[0]) sums[2] += weights[k - from];
    }
    for (int a = 0; a < 3; a++) p[a] = (double)(sums[a] / total);
}

TEST(fisher_is_the_sum_over_tables) {
    for (uint64_t i = 0; i < 5 * 5 * 5 * 5; i++) {
        uint64_t t[4] = {i % 5, i / 5 % 5 * 3, i / 25 % 5 * 2, i / 125 * 4};
        double expected[3], odds, p;
        if (t[0] + t[1] == 0 || t[2] + t[3] == 0 || t[0] + t[2] == 0 || t[1] + t[3] == 0) continue;
        enumerate(t, expected);
        for (int a = 0; a < 3; a++) {
            CHECK_STATUS(qdisp_fisher_exact(ctx, t, (qdisp_alternative)a, &odds, &p), QDISP_OK);
            CHECK_NEAR(p, expected[a], 1e-13);
        }
    }
}

/* With half of all drawn, k and n_marked - k are equally probable: ties, through rounding that differs. */
TEST(fisher_counts_ties) {
    for (uint64_t n_marked = 12; n_marked <= 60; n_marked += 8)
        for (uint64_t n_plain = 14; n_plain <= 74; n_plain += 20)
            for (uint64_t k = 0; k <= n_marked; k++) {
                uint64_t n_drawn = (n_marked + n_plain) / 2;
                if (k > n_drawn || n_drawn - k > n_plain) continue;
                uint64_t t[4] = {k, n_marked - k, n_drawn - k, n_plain + k - n_drawn};
                double expected[3], odds, p;
                enumerate(t, expected);
                CHECK_STATUS(qdisp_fisher_exact(ctx, t, QDISP_TWO_SIDED, &odds, &p), QDISP_OK);
                CHECK_NEAR(p, expected[0], 1e-12);
            }
}

TEST(fisher_at_the_edges) {
    uint64_t empty[4] = {0, 0, 3, 4}, one_way[4] = {5, 0, 0, 5}, never[4] = {0, 5, 5, 0}, large[4];
    double odds = 7, p = 7;
    CHECK_STATUS(qdisp_fisher_exact(ctx, empty, QDISP_TWO_SIDED, &odds, &p), QDISP_OK);
    CHECK(isnan(odds) && p == 1);
    CHECK_STATUS(qdisp_fisher_exact(ctx, one_way, QDISP_LESS, &odds, &p), QDISP_OK);
    CHECK(odds == INFINITY && p == 1);
    CHECK_STATUS(qdisp_fisher_exact(ctx, never, QDISP_TWO_SIDED, &odds, &p), QDISP_OK);
    CHECK(odds == 0);
    CHECK_NEAR(p, 2.0 / 252, 1e-14);
    for (int i = 0; i < 4; i++) large[i] = 1000000000 + (uint64_t)(i == 0) * 100000;
    CHECK_STATUS(qdisp_fisher_exact(ctx, large, QDISP_TWO_SIDED, &odds, &p), QDISP_OK);
    /* the sum over all tables by log-gamma in 40 digits; at 1e9 the logarithms have 1e-16 of some 1e4 left */
    CHECK_NEAR(p, 0.11386527461182554191, 1e-12);
    large[2] = (uint64_t)1 << 48;
    odds = p = 7;
    CHECK_STATUS(qdisp_fisher_exact(ctx, large, QDISP_TWO_SIDED, &odds, &p), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fisher_exact(ctx, NULL, QDISP_TWO_SIDED, &odds, &p), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fisher_exact(ctx, never, (qdisp_alternative)-1, &odds, &p), QDISP_EINVAL);
    CHECK(odds == 7 && p == 7);
}

TEST(wilson_is_statsmodels) {
    int n_rows = 0;
    double low = 7, high = 7;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "wilson")) continue;
        CHECK_STATUS(qdisp_wilson(ctx, (uint64_t)g.v[0], (uint64_t)g.v[1], g.v[2], &low, &high), QDISP_OK);
        CHECK(fabs(low - g.v[3]) < 1e-15 && fabs(high - g.v[4]) < 1e-15);
        n_rows++;
    }
    CHECK(n_rows == 6);
    CHECK_STATUS(qdisp_wilson(ctx, 0, 5, 0.95, &low, &high), QDISP_OK);
    CHECK(low == 0 && high > 0.1 && high < 1);
    CHECK_STATUS(qdisp_wilson(ctx, 5, 5, 0.95, &low, &high), QDISP_OK);
    CHECK(low > 0 && low < 0.9 && high == 1);
    low = high = 7;
    CHECK_STATUS(qdisp_wilson(ctx, 0, 0, 0.95, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_wilson(ctx, 6, 5, 0.95, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_wilson(ctx, 3, 5, 1, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_wilson(ctx, 3, 5, 0.95, NULL, &high), QDISP_EINVAL);
    CHECK(low == 7 && high == 7);
}

TEST(holm_and_benjamini_hochberg_are_statsmodels) {
    int n_rows = 0;
    double adjusted[32];
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "adjust")) continue;
        size_t n = (size_t)g.v[0];
        CHECK_STATUS(qdisp_holm(ctx, g.v + 1, n, adjusted), QDISP_OK);
        for (size_t i = 0; i < n; i++) CHECK_NEAR(adjusted[i], g.v[1 + n + i], 1e-15);
        CHECK_STATUS(qdisp_benjamini_hochberg(ctx, g.v + 1, n, adjusted), QDISP_OK);
        for (size_t i = 0; i < n; i++) CHECK_NEAR(adjusted[i], g.v[1 + 2 * n + i], 1e-15);
        n_rows++;
    }
    CHECK(n_rows == 4);
}

TEST(benjamini_hochberg_steps_up) {
    /* by hand: sorted .01 .03 .04 .2 .5, times 5 / rank = .05 .075 .0667 .25 .5, running minimum from the right */
    double p[6] = {0.04, 0.5, NAN, 0.01, 0.2, 0.03}, expected[6] = {0.2 / 3, 0.5, NAN, 0.05, 0.25, 0.2 / 3}, out[6];
    CHECK_STATUS(qdisp_benjamini_hochberg(ctx, p, 6, out), QDISP_OK);
    for (int i = 0; i < 6; i++) CHECK_NEAR(out[i], expected[i], 1e-15);
    CHECK_STATUS(qdisp_benjamini_hochberg(ctx, p, 6, p), QDISP_OK); /* in place */
    CHECK(!memcmp(p, out, sizeof p));
    p[1] = 1.5;
    out[0] = 7;
    CHECK_STATUS(qdisp_benjamini_hochberg(ctx, p, 6, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "p[1] = 1.5");
    p[1] = -0.1;
    CHECK_STATUS(qdisp_holm(ctx, p, 6, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_holm(ctx, p, 6, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_holm(ctx, NULL, 6, out), QDISP_EINVAL);
    CHECK(out[0] == 7);
}

TEST(power_is_statsmodels) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        double *v = g.v, value = 7;
        qdisp_alternative a = (qdisp_alternative)v[3];
        n_rows++;
        if (!strcmp(g.word, "power_paired")) {
            CHECK_STATUS(qdisp_power_paired(ctx, v[0], (uint64_t)v[1], v[2], a, &value), QDISP_OK);
            CHECK(fabs(value - v[4]) < 1e-11);
        } else if (!strcmp(g.word, "detectable_paired")) {
            CHECK_STATUS(qdisp_detectable_paired(ctx, (uint64_t)v[0], v[1], v[2], a, &value), QDISP_OK);
            CHECK_NEAR(value, v[4], 1e-10);
        } else if (!strcmp(g.word, "power_correlation")) {
            CHECK_STATUS(qdisp_power_correlation(ctx, v[0], (uint64_t)v[1], v[2], a, &value), QDISP_OK);
            CHECK_NEAR(value, v[4], 1e-12);
        } else if (!strcmp(g.word, "detectable_correlation")) {
            CHECK_STATUS(qdisp_detectable_correlation(ctx, (uint64_t)v[0], v[1], v[2], a, &value), QDISP_OK);
            CHECK_NEAR(value, v[4], 1e-13);
        } else {
            n_rows--;
        }
    }
    CHECK(n_rows == 19);
}

TEST(power_of_a_correlation_is_near_a_simulation) {
    int n_rows = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        double power = 7;
        if (strcmp(g.word, "simulated_power")) continue;
        CHECK_STATUS(qdisp_power_correlation(ctx, g.v[0], (uint64_t)g.v[1], 0.05, QDISP_TWO_SIDED, &power), QDISP_OK);
        double noise = 4 * sqrt(g.v[2] * (1 - g.v[2]) / g.v[3]); /* of the simulation: a chance of 6e-5 a row */
        CHECK(fabs(power - g.v[2]) < (g.v[1] < 10 ? 0.03 : g.v[1] < 14 ? 0.02 : 0.01) + noise); /* the header's word */
        n_rows++;
    }
    CHECK(n_rows == 12);
}

TEST(detectable_effects_have_the_power) {
    for (int a = 0; a < 3; a++)
        for (uint64_t n = 4; n < 3000; n = n * 2 + 1)
            for (double wanted = 0.2; wanted < 1; wanted += 0.26) {
                double effect, power;
                qdisp_alternative to = (qdisp_alternative)a;
                CHECK_STATUS(qdisp_detectable_correlation(ctx, n, 0.05, wanted, to, &effect), QDISP_OK);
                CHECK(to == QDISP_LESS ? effect < 0 : effect > 0);
                CHECK_STATUS(qdisp_power_correlation(ctx, effect, n, 0.05, to, &power), QDISP_OK);
                CHECK_NEAR(power, wanted, 1e-10); /* effects next to 1 lose digits of atanh */
                CHECK_STATUS(qdisp_detectable_paired(ctx, n, 0.05, wanted, to, &effect), QDISP_OK);
                CHECK_STATUS(qdisp_power_paired(ctx, effect, n, 0.05, to, &power), QDISP_OK);
                CHECK_NEAR(power, wanted, 1e-12);
            }
}

TEST(power_at_the_edges) {
    double v = 7;
    CHECK_STATUS(qdisp_power_paired(ctx, 0, 9, 0.05, QDISP_TWO_SIDED, &v), QDISP_OK);
    CHECK_NEAR(v, 0.05, 1e-13);
    CHECK_STATUS(qdisp_power_correlation(ctx, 0, 9, 0.05, QDISP_GREATER, &v), QDISP_OK);
    CHECK(fabs(v - 0.05) < 0.002); /* an approximation: see the header */
    CHECK_STATUS(qdisp_power_paired(ctx, 1e6, 9, 0.05, QDISP_TWO_SIDED, &v), QDISP_OK);
    CHECK(v == 1);
    CHECK_STATUS(qdisp_power_paired(ctx, -1e6, 9, 0.05, QDISP_GREATER, &v), QDISP_OK);
    CHECK(v == 0);
    v = 7;
    CHECK_STATUS(qdisp_power_correlation(ctx, 0.5, 3, 0.05, QDISP_TWO_SIDED, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_correlation(ctx, 1, 9, 0.05, QDISP_TWO_SIDED, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_correlation(ctx, 0.5, 9, 0, QDISP_TWO_SIDED, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_correlation(ctx, 0.5, 9, 0.05, (qdisp_alternative)3, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_correlation(ctx, 0.5, 9, 0.05, QDISP_LESS, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_detectable_correlation(ctx, 9, 0.05, 0.05, QDISP_LESS, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_detectable_correlation(ctx, 9, 0.05, 1, QDISP_LESS, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_detectable_paired(ctx, 1, 0.05, 0.8, QDISP_LESS, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_detectable_paired(ctx, 9, 0.05, NAN, QDISP_LESS, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_paired(ctx, INFINITY, 9, 0.05, QDISP_LESS, &v), QDISP_EINVAL);
    CHECK_STATUS(qdisp_power_paired(ctx, 2e5, 2, 1e-9, QDISP_TWO_SIDED, &v), QDISP_ENUMERIC);
    CHECK(v == 7);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(paired_and_welch_are_scipys);
    RUN(t_tests_at_the_edges);
    RUN(tost_is_statsmodels);
    RUN(tost_at_the_edges);
    RUN(fisher_is_scipys);
    RUN(fisher_is_the_sum_over_tables);
    RUN(fisher_counts_ties);
    RUN(fisher_at_the_edges);
    RUN(wilson_is_statsmodels);
    RUN(holm_and_benjamini_hochberg_are_statsmodels);
    RUN(benjamini_hochberg_steps_up);
    RUN(power_is_statsmodels);
    RUN(power_of_a_correlation_is_near_a_simulation);
    RUN(detectable_effects_have_the_power);
    RUN(power_at_the_edges);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

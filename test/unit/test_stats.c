/* test_stats.c - correlation, bootstrap, permutation test, Holm. Golden values: test/golden/make_stats.py (scipy). */
#include "golden.h"

#include "base/base.h"
#include "stats/correlate.h"
#include "stats/resample.h"

#include <qdisp/stats.h>

static qdisp_ctx *ctx;

static void spearman_row(const double *v, size_t n_values) {
    size_t n = (size_t)v[0];
    double rho = 7;
    CHECK(n_values == 2 + 2 * n);
    CHECK_STATUS(qd_spearman(ctx, v + 2, v + 2 + n, n, &rho), QDISP_OK);
    /* both sum exact half-integers; the order of some hundred f64 sums is the difference */
    CHECK(fabs(rho - v[1]) < 1e-13);
}

TEST(spearman_is_scipys) {
    CHECK(golden_each("stats.txt", "spearman", spearman_row) == 7);
}

TEST(spearman_at_the_edges) {
    double x[6] = {1, 2, 3, 4, NAN, 6}, y[6] = {2, 4, 8, 16, 32, NAN}, c[6] = {5, 5, 5, 5, 5, 5}, rho = 7;
    CHECK_STATUS(qd_spearman(ctx, x, y, 6, &rho), QDISP_OK); /* pairs with a NaN are left out */
    CHECK(fabs(rho - 1) < 1e-15);
    double down[4] = {9, 7, 5, 3};
    CHECK_STATUS(qd_spearman(ctx, x, down, 4, &rho), QDISP_OK);
    CHECK(fabs(rho + 1) < 1e-15);
    CHECK_STATUS(qd_spearman(ctx, x, c, 4, &rho), QDISP_OK);
    CHECK(isnan(rho));
    CHECK_STATUS(qd_spearman(ctx, x, y, 2, &rho), QDISP_OK);
    CHECK(isnan(rho));
    CHECK_STATUS(qd_spearman(ctx, x + 3, y + 3, 3, &rho), QDISP_OK); /* one pair is left */
    CHECK(isnan(rho));
    rho = 7;
    CHECK_STATUS(qd_spearman(ctx, NULL, NULL, 0, &rho), QDISP_OK);
    CHECK(isnan(rho));
    CHECK_STATUS(qd_spearman(ctx, NULL, y, 4, &rho), QDISP_EINVAL);
    CHECK_STATUS(qdisp_spearman(ctx, x, y, 4, QDISP_TWO_SIDED, 0.95, NULL), QDISP_EINVAL);
    double inf[4] = {-INFINITY, 0, 1, INFINITY};
    CHECK_STATUS(qd_spearman(ctx, inf, x, 4, &rho), QDISP_OK); /* infinities have ranks */
    CHECK(fabs(rho - 1) < 1e-15);
}

static void bca_row(const double *v, size_t n_values) {
    size_t n = (size_t)v[0];
    double low = 7, high = 7;
    CHECK(n_values == 6 + 2 * n);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, v + 6, v + 6 + n, n, v[1], 20000, 12345, &low, &high), QDISP_OK);
    /* 5 standard deviations of a run as long as ours: a chance of 1e-6 an endpoint, were the seed not fixed */
    CHECK(fabs(low - v[2]) < 5 * v[4]);
    CHECK(fabs(high - v[3]) < 5 * v[5]);
}

TEST(bca_is_scipys_within_monte_carlo_error) {
    CHECK(golden_each("stats.txt", "bca", bca_row) == 5);
}

TEST(bootstrap_is_reproducible_and_depends_on_the_seed) {
    double a[20], b[20], low[3], high[3];
    for (int i = 0; i < 20; i++) a[i] = sin(i * 1.7) + 0.5, b[i] = 10 + i % 7;
    for (int k = 0; k < 3; k++)
        CHECK_STATUS(qdisp_bootstrap_ratio(ctx, a, b, 20, 0.95, 500, k == 2 ? 9 : 4, &low[k], &high[k]), QDISP_OK);
    CHECK(low[0] == low[1] && high[0] == high[1]);
    CHECK(low[0] != low[2] || high[0] != high[2]);
    double sum_a = 0, sum_b = 0;
    for (int i = 0; i < 20; i++) sum_a += a[i], sum_b += b[i];
    CHECK(low[0] < sum_a / sum_b && sum_a / sum_b < high[0]);
    /* scaling a scales the interval, exactly for a power of two */
    for (int i = 0; i < 20; i++) a[i] *= 4;
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, a, b, 20, 0.95, 500, 4, &low[1], &high[1]), QDISP_OK);
    CHECK(low[1] == 4 * low[0] && high[1] == 4 * high[0]);
}

TEST(bootstrap_of_constant_and_bad_data) {
    double zero[8] = {0}, one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, low = 7, high = 7;
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, zero, one, 8, 0.95, 200, 0, &low, &high), QDISP_OK);
    CHECK(low == 0 && high == 0);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 8, 0.95, 200, 0, &low, &high), QDISP_OK);
    CHECK(low == 1 && high == 1);
    double third[8], x = 0.1;
    for (int i = 0; i < 8; i++) third[i] = x;
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, third, one, 8, 0.95, 200, 0, &low, &high), QDISP_OK);
    CHECK_NEAR(low, x, 1e-15);
    CHECK_NEAR(high, x, 1e-15);
    CHECK(low <= high);
    low = high = 7;
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 2, 0.95, 200, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 8, 0.95, 99, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 8, 0, 200, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 8, 1, 200, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, one, 8, NAN, 200, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, NULL, one, 8, 0.95, 200, 0, &low, &high), QDISP_EINVAL);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, zero, 8, 0.95, 200, 0, &low, &high), QDISP_ENUMERIC);
    one[3] = NAN;
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, one, third, 8, 0.95, 200, 0, &low, &high), QDISP_ENUMERIC);
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, third, one, 8, 0.95, 200, 0, &low, &high), QDISP_ENUMERIC);
    CHECK(low == 7 && high == 7);
    /* one huge outlier: still an interval, in order */
    double b[8] = {1, 1, 1, 1, 1, 1, 1, 1}, spike[8] = {0, 0, 0, 0, 0, 0, 0, 1e6};
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, spike, b, 8, 0.95, 1000, 0, &low, &high), QDISP_OK);
    CHECK(low <= high && low >= 0 && high <= 1e6);
}

/* All 2^n sign patterns by brute force, counted in integers. */
static double enumerate(const int *d, int n) {
    long observed = 0, n_extreme = 0;
    for (int i = 0; i < n; i++) observed += d[i];
    for (long r = 0; r < 1l << n; r++) {
        long sum = 0;
        for (int i = 0; i < n; i++) sum += r >> i & 1 ? -d[i] : d[i];
        n_extreme += labs(sum) >= labs(observed);
    }
    return (double)n_extreme / (double)(1l << n);
}

TEST(sign_flips_are_enumerated_when_few) {
    for (int n = 1; n <= 11; n++)
        for (int kind = 0; kind < 4; kind++) {
            int d[11];
            double x[11], p = 7;
            for (int i = 0; i < n; i++) {
                d[i] = kind == 0 ? i + 1 : kind == 1 ? (i * 7919 % 13) - 6 : kind == 2 ? 3 : (i % 2 ? -2 : 5);
                x[i] = 0.1 * d[i]; /* rounding must not break ties */
            }
            CHECK_STATUS(qd_sign_flip_test(ctx, x, (size_t)n, 2048, 0, &p), QDISP_OK);
            CHECK(p == enumerate(d, n));
        }
}

TEST(sign_flips_at_random_come_near_the_exact_value) {
    int d[16];
    double x[16], p = 7, again = 8;
    for (int i = 0; i < 16; i++) x[i] = d[i] = i % 3 ? 4 - i % 5 : -2 - i % 4 + i / 3;
    double exact = enumerate(d, 16);
    CHECK_STATUS(qd_sign_flip_test(ctx, x, 16, 20000, 3, &p), QDISP_OK); /* 2^16 > 20000: at random */
    CHECK(fabs(p - exact) < 5 * sqrt(exact * (1 - exact) / 20000)); /* 5 standard deviations of a binomial share */
    CHECK_STATUS(qd_sign_flip_test(ctx, x, 16, 20000, 3, &again), QDISP_OK);
    CHECK(p == again);
    CHECK_STATUS(qd_sign_flip_test(ctx, x, 16, 1 << 16, 3, &p), QDISP_OK);
    CHECK(p == exact);
    /* far from chance: the smallest value there is, never 0 */
    double large[300];
    for (int i = 0; i < 300; i++) large[i] = 1 + i % 3;
    CHECK_STATUS(qd_sign_flip_test(ctx, large, 300, 999, 0, &p), QDISP_OK);
    CHECK(p == 1.0 / 1000);
    /* signs of all 300 places are drawn: balanced differences are no finding */
    for (int i = 0; i < 300; i++) large[i] = (i % 2 ? 1 : -1) * (1 + i / 2 % 7);
    CHECK_STATUS(qd_sign_flip_test(ctx, large, 300, 999, 0, &p), QDISP_OK);
    CHECK(p > 0.9);
}

TEST(sign_flips_at_the_edges) {
    double zero[40] = {0}, p = 7;
    CHECK_STATUS(qd_sign_flip_test(ctx, zero, 40, 500, 0, &p), QDISP_OK);
    CHECK(p == 1);
    CHECK_STATUS(qd_sign_flip_test(ctx, zero, 3, 500, 0, &p), QDISP_OK);
    CHECK(p == 1);
    double one = 3;
    CHECK_STATUS(qd_sign_flip_test(ctx, &one, 1, 500, 0, &p), QDISP_OK);
    CHECK(p == 1);
    double bad[2] = {1, NAN};
    CHECK_STATUS(qd_sign_flip_test(ctx, bad, 2, 500, 0, &p), QDISP_ENUMERIC);
    bad[1] = INFINITY;
    CHECK_STATUS(qd_sign_flip_test(ctx, bad, 2, 500, 0, &p), QDISP_ENUMERIC);
}

TEST(holm_steps_down) {
    /* by hand: sorted .01 .03 .04 .2 .5, times 5 4 3 2 1 = .05 .12 .12 .4 .5, running maximum .05 .12 .12 .4 .5 */
    double p[6] = {0.04, 0.5, NAN, 0.01, 0.2, 0.03}, expected[6] = {0.12, 0.5, NAN, 0.05, 0.4, 0.12};
    CHECK_STATUS(qdisp_holm(ctx, p, 6, p), QDISP_OK);
    for (int i = 0; i < 6; i++) CHECK_NEAR(p[i], expected[i], 1e-15);
    double ties[4] = {0.02, 0.02, 0.02, 0.9}, tied[4] = {0.08, 0.08, 0.08, 0.9};
    CHECK_STATUS(qdisp_holm(ctx, ties, 4, ties), QDISP_OK);
    for (int i = 0; i < 4; i++) CHECK_NEAR(ties[i], tied[i], 1e-15);
    double high[3] = {0.9, 0.8, 0.7};
    CHECK_STATUS(qdisp_holm(ctx, high, 3, high), QDISP_OK);
    CHECK(high[0] == 1 && high[1] == 1 && high[2] == 1);
    double one = 0.3;
    CHECK_STATUS(qdisp_holm(ctx, &one, 1, &one), QDISP_OK);
    CHECK(one == 0.3);
    CHECK_STATUS(qdisp_holm(ctx, NULL, 0, NULL), QDISP_OK);
    double nans[2] = {NAN, NAN};
    CHECK_STATUS(qdisp_holm(ctx, nans, 2, nans), QDISP_OK);
    CHECK(isnan(nans[0]) && isnan(nans[1]));
}

TEST(quantiles_are_type_7) {
    double x[5] = {1, 2, 4, 8, 16};
    CHECK(qd_quantile(x, 5, 0) == 1 && qd_quantile(x, 5, 1) == 16 && qd_quantile(x, 5, 0.5) == 4);
    CHECK_NEAR(qd_quantile(x, 5, 0.3), 2.4, 1e-15); /* place 1.2 */
    CHECK(qd_quantile(x, 1, 0.7) == 1 && isnan(qd_quantile(x, 0, 0.5)));
    double y[4] = {3, -1, 2, -1};
    qd_sort(y, 4);
    CHECK(y[0] == -1 && y[1] == -1 && y[2] == 2 && y[3] == 3);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(spearman_is_scipys);
    RUN(spearman_at_the_edges);
    RUN(bca_is_scipys_within_monte_carlo_error);
    RUN(bootstrap_is_reproducible_and_depends_on_the_seed);
    RUN(bootstrap_of_constant_and_bad_data);
    RUN(sign_flips_are_enumerated_when_few);
    RUN(sign_flips_at_random_come_near_the_exact_value);
    RUN(sign_flips_at_the_edges);
    RUN(holm_steps_down);
    RUN(quantiles_are_type_7);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

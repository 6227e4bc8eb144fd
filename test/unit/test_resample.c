/* test_resample.c - bootstrap, permutation and jackknife of correlations, ACIQ of laws and arrays. Golden values:
 * test/golden/make_resample.py (scipy, mpmath), and aciq_optimum.csv, a table of 38 optima of four laws. */
#include "harness.h"

#include "base/base.h"
#include "kernels/kernels.h"
#include "stats/paired.h"
#include "stats/resample.h"

#include <qdisp/stats.h>

#define PEARSON QDISP_CORRELATION_PEARSON
#define SPEARMAN QDISP_CORRELATION_SPEARMAN
#define KENDALL QDISP_CORRELATION_KENDALL
#define PERCENTILE QDISP_INTERVAL_PERCENTILE
#define BASIC QDISP_INTERVAL_BASIC
#define BCA QDISP_INTERVAL_BCA

static qdisp_ctx *ctx;

/* Calls row(words, n) for every line of a golden file that starts with `wanted`, its other fields; returns how many. */
static int each_golden(const char *wanted, void (*row)(char **words, size_t n)) {
    static char line[1 << 16], *words[2048];
    FILE *f = fopen(QDISP_ROOT "/test/golden/resample.txt", "r");
    int n_rows = 0;
    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        size_t n = 0;
        for (char *w = strtok(line, " \n"); w && n < 2048; w = strtok(NULL, " \n")) words[n++] = w;
        if (n == 0 || strcmp(words[0], wanted)) continue;
        row(words + 1, n - 1);
        n_rows++;
    }
    fclose(f);
    return n_rows;
}

static double x[512], y[512];

static void read_pairs(char **words, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = strtod(words[i], NULL), y[i] = strtod(words[n + i], NULL);
}

static void boot_row(char **w, size_t n_words) {
    qdisp_correlation kind = (qdisp_correlation)atoi(w[0]);
    size_t n = (size_t)atoi(w[2]);
    double v[8];
    qdisp_bootstrap b;
    CHECK(n_words == 11 + 2 * n);
    for (int i = 0; i < 8; i++) v[i] = strtod(w[3 + i], NULL);
    read_pairs(w + 11, n);
    qdisp_interval_method method = (qdisp_interval_method)atoi(w[1]);
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, kind, x, y, n, method, v[0], 20000, 11, &b), QDISP_OK);
    /* sums in another order */
    CHECK(fabs(b.estimate - v[1]) < 1e-13);
    /* 5 standard deviations of a run as long as ours, by a factor of 1.5 as they come from 12 runs; where the values of
     * rank correlations are few, the runs' deviation may be 0: then all agree to rounding */
    CHECK(fabs(b.standard_error - v[2]) < 7.5 * v[5] + 1e-12);
    CHECK(fabs(b.low - v[3]) < 7.5 * v[6] + 1e-12);
    CHECK(fabs(b.high - v[4]) < 7.5 * v[7] + 1e-12);
    CHECK(b.n_resamples == 20000 && b.n_degenerate == 0);
}

TEST(intervals_are_scipys_within_monte_carlo_error) {
    CHECK(each_golden("boot", boot_row) == 29);
}

static void jack_row(char **w, size_t n_words) {
    size_t n = (size_t)atoi(w[1]);
    qdisp_jackknife j;
    CHECK(n_words == 5 + 2 * n);
    read_pairs(w + 5, n);
    CHECK_STATUS(qdisp_jackknife_correlation(ctx, (qdisp_correlation)atoi(w[0]), x, y, n, &j), QDISP_OK);
    CHECK(fabs(j.estimate - strtod(w[2], NULL)) < 1e-13);
    /* n - 1 times the rounding of a mean of differences */
    CHECK(fabs(j.bias - strtod(w[3], NULL)) < 1e-13 * (double)n);
    CHECK(fabs(j.standard_error - strtod(w[4], NULL)) < 1e-12);
    CHECK(j.low <= j.estimate && j.estimate <= j.high && j.n_degenerate == 0);
}

TEST(jackknife) {
    CHECK(each_golden("jack", jack_row) == 15);
}

static void exact_row(char **w, size_t n_words) {
    size_t n = (size_t)atoi(w[2]);
    uint64_t n_orders = 1;
    qdisp_permutation p;
    CHECK(n_words == 5 + 2 * n);
    read_pairs(w + 5, n);
    for (size_t k = 2; k <= n; k++) n_orders *= k;
    CHECK_STATUS(qdisp_permutation_correlation(ctx, (qdisp_correlation)atoi(w[0]), x, y, n,
                                               (qdisp_alternative)atoi(w[1]), 100, 0, &p), QDISP_OK);
    CHECK(p.exact && p.n_permutations == n_orders);
    CHECK(fabs(p.p - strtod(w[3], NULL)) < 1e-15); /* a count over n! */
    CHECK(p.p == (double)p.n_extreme / (double)n_orders);
    CHECK(fabs(p.null_sd - strtod(w[4], NULL)) < 1e-13);
    if (atoi(w[0]) < 2) CHECK(fabs(p.null_sd - 1 / sqrt((double)n - 1)) < 1e-13); /* a theorem, over all orders */
}

TEST(few_orders_are_all_evaluated) {
    CHECK(each_golden("exact", exact_row) == 27);
    qdisp_permutation p;
    for (int i = 0; i < 10; i++) x[i] = i, y[i] = i * 7 % 10;
    CHECK_STATUS(qdisp_permutation_correlation(ctx, PEARSON, x, y, 10, QDISP_LESS, 3628800, 0, &p),
                 QDISP_OK);
    CHECK(p.exact && p.n_permutations == 3628800);
    CHECK_STATUS(qdisp_permutation_correlation(ctx, PEARSON, x, y, 10, QDISP_LESS, 3628799, 0, &p),
                 QDISP_OK);
    CHECK(!p.exact && p.n_permutations == 3628799);
}

static void permute_row(char **w, size_t n_words) {
    size_t n = (size_t)atoi(w[2]);
    double want = strtod(w[3], NULL), n_drawn = 100003, variance = want * (1 - want);
    qdisp_permutation p;
    CHECK(n_words == 4 + 2 * n);
    read_pairs(w + 4, n);
    CHECK_STATUS(qdisp_permutation_correlation(ctx, (qdisp_correlation)atoi(w[0]), x, y, n,
                                               (qdisp_alternative)atoi(w[1]), (size_t)n_drawn, 5, &p), QDISP_OK);
    /* 5 standard deviations of the difference of two binomial shares */
    CHECK(fabs(p.p - want) <= 5 * sqrt(variance / n_drawn + variance / 400000));
    CHECK(!p.exact && p.p == ((double)p.n_extreme + 1) / (n_drawn + 1));
    /* a standard deviation of n values is known to 1 / sqrt(2 n) of itself, if they are about Gaussian */
    if (atoi(w[0]) < 2) CHECK(fabs(p.null_sd * sqrt((double)n - 1) - 1) < 5 / sqrt(2 * n_drawn));
}

TEST(random_orders_come_near_another_generators) {
    CHECK(each_golden("permute", permute_row) == 24);
}

static void fill(size_t n, uint64_t seed) {
    uint32_t key[2] = {(uint32_t)seed, 1}, words[4], counter[4] = {0};
    for (size_t i = 0; i < n; i++) {
        counter[0] = (uint32_t)i;
        qd_philox(counter, key, words);
        x[i] = (double)words[0] * 0x1p-32 - 0.5;
        y[i] = x[i] + (double)words[1] * 0x1p-31 - 1;
    }
}

TEST(words_are_those_of_the_generator) {
    uint32_t key[2] = {77, 0x80000001u}, words[4 * 67], want[4];
    uint64_t starts[] = {0, 0xfffffff0u, 0xffffffffffffffe0u};
    for (size_t s = 0; s < 3; s++) {
        uint32_t counter[4] = {(uint32_t)starts[s], (uint32_t)(starts[s] >> 32), 5, 6};
        ctx->kernels->philox(counter, key, 67, words);
        for (size_t i = 0; i < 67; i++) {
            uint64_t at = starts[s] + i;
            uint32_t own[4] = {(uint32_t)at, (uint32_t)(at >> 32), 5, 6};
            qd_philox(own, key, want);
            CHECK(memcmp(want, words + 4 * i, sizeof want) == 0);
        }
    }
    /* the paper's test vector: all ones */
    uint32_t ones[4] = {~0u, ~0u, ~0u, ~0u}, out[4], known[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
    ctx->kernels->philox(ones, ones, 1, out);
    CHECK(memcmp(out, known, sizeof out) == 0);
}

TEST(places_are_drawn_evenly) {
    static uint32_t words[1 << 20], counts[70000];
    size_t sizes[] = {3, 14, 16, 17, 200, 257, 1000, 70000};
    for (size_t s = 0; s < 8; s++) {
        size_t n = sizes[s];
        qd_draws d = qd_draws_of(ctx, 3, 9, n, n);
        size_t n_runs = ((size_t)1 << 20) / d.n_words;
        double chi2 = 0, expected = (double)n_runs;
        memset(counts, 0, sizeof counts);
        qd_draws_words(&d, 1, n_runs, words);
        for (size_t r = 0; r < n_runs; r++) qd_draws_count(&d, words + r * d.n_words, counts);
        uint64_t total = 0;
        for (size_t i = 0; i < n; i++) {
            total += counts[i];
            chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        CHECK(total == n_runs * n);
        /* chi-squared of n - 1 degrees of freedom, within 6 standard deviations of its mean */
        CHECK(fabs(chi2 - (double)(n - 1)) < 6 * sqrt(2 * (double)n));
    }
}

/* The interval's quantiles without sorting are those of the sorted values. */
TEST(quantiles_need_no_sorting) {
    enum { N = 30011 };
    static double values[N], copy[N], left[3] = {1, 2, 3};
    for (int kind = 0; kind < 7; kind++) {
        fill(1, 0);
        for (int i = 0; i < N; i++) {
            uint32_t words[4], counter[4] = {(uint32_t)i}, key[2] = {1, 2};
            qd_philox(counter, key, words);
            double u = (double)words[0] * 0x1p-32;
            values[i] = kind == 0 ? u : kind == 1 ? floor(4 * u) : kind == 2 ? ldexp(u, (int)(words[1] % 2000) - 1000)
                      : kind == 3 ? 0.25 : kind == 4 ? (i == 7 ? 1e300 : u) : kind == 5 ? (i % 3 ? NAN : u - 0.5)
                      : (i % 2 ? -1.7e308 : 1.7e308) * u;
        }
        double levels[] = {0.95, 0.5, 0.001, 0.9999};
        for (int l = 0; l < 4; l++) {
            qd_resampled r;
            size_t m = 0;
            memcpy(copy, values, sizeof copy);
            CHECK_STATUS(qd_interval(ctx, PERCENTILE, levels[l], 0.3, copy, N, left, 3, &r), QDISP_OK);
            for (int i = 0; i < N; i++)
                if (!isnan(values[i])) copy[m++] = values[i];
            qd_sort(copy, m);
            CHECK(r.low == qd_quantile(copy, m, (1 - levels[l]) / 2));
            CHECK(r.high == qd_quantile(copy, m, (1 + levels[l]) / 2));
            CHECK(r.n == m && r.n_degenerate == N - m);
        }
    }
}

static int same(const void *a, const void *b, size_t size) {
    return memcmp(a, b, size) == 0;
}

TEST(threads_and_instruction_sets_do_not_matter) {
    const char *isas[8];
    size_t n_isas = qd_kernels_list(isas);
    fill(40, 5);
    for (int kind = 0; kind < 3; kind++) {
        qdisp_bootstrap b[2];
        qdisp_permutation p[2];
        qdisp_bootstrap_correlation(ctx, (qdisp_correlation)kind, x, y, 40, BCA, 0.95, 9000, 2, &b[0]);
        qdisp_permutation_correlation(ctx, (qdisp_correlation)kind, x, y, 40, QDISP_TWO_SIDED, 9000, 2, &p[0]);
        for (size_t i = 0; i < n_isas; i++) {
            for (uint32_t n_threads = 1; n_threads < 6; n_threads += 2) {
                qdisp_ctx_options o = {.size = sizeof o, .n_threads = n_threads, .isa = isas[i]};
                qdisp_ctx *own;
                CHECK_STATUS(qdisp_ctx_new(&o, &own), QDISP_OK);
                qdisp_bootstrap_correlation(own, (qdisp_correlation)kind, x, y, 40, BCA, 0.95, 9000, 2,
                                            &b[1]);
                qdisp_permutation_correlation(own, (qdisp_correlation)kind, x, y, 40, QDISP_TWO_SIDED, 9000, 2, &p[1]);
                CHECK(same(&b[0], &b[1], sizeof *b) && same(&p[0], &p[1], sizeof *p));
                qdisp_ctx_free(own);
            }
        }
        qdisp_bootstrap_correlation(ctx, (qdisp_correlation)kind, x, y, 40, BCA, 0.95, 9000, 3, &b[1]);
        CHECK(b[1].low != b[0].low && b[1].estimate == b[0].estimate);
    }
}

/* Every way of drawing (tables of twos, rows, two words) gives the sums of the multiplicities. */
TEST(fast_sums_are_those_of_the_pairs) {
    size_t sizes[] = {3, 5, 14, 16, 17, 19, 20, 255, 257, 400};
    for (size_t s = 0; s < 10; s++) {
        size_t n = sizes[s];
        uint32_t words[4096], counts[4 * 512];
        qd_paired sample;
        qdisp_bootstrap b;
        double sum = 0, squares = 0;
        size_t n_values = 0;
        fill(n, s);
        CHECK_STATUS(qd_paired_new(ctx, "test", PEARSON, x, y, n, &sample), QDISP_OK);
        qd_draws d = qd_draws_of(ctx, 8, 2, n, n);
        for (uint64_t r = 0; r < 300; r++) {
            memset(counts, 0, n * sizeof *counts);
            qd_draws_words(&d, r, 1, words);
            qd_draws_count(&d, words, counts);
            double v = qd_paired_value(&sample, counts, n, counts + n);
            if (isnan(v)) continue;
            n_values++;
            sum += v;
            squares += v * v;
        }
        CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, x, y, n, BASIC, 0.9, 300,
                                                 8, &b), QDISP_OK);
        double mean = sum / (double)n_values;
        CHECK(b.n_degenerate == 300 - n_values);
        CHECK(fabs(b.bias - (mean - b.estimate)) < 1e-11); /* cancellation of up to 10 bits in a variance */
        CHECK(fabs(b.standard_error - sqrt((squares - sum * mean) / (double)(n_values - 1))) < 1e-10);
        qd_paired_free(ctx, &sample);
    }
}

TEST(two_words_a_draw) {
    enum { N = 70000 };
    static double big_x[N], big_y[N];
    qdisp_bootstrap b;
    qdisp_permutation p;
    for (size_t i = 0; i < N; i++) big_x[i] = sin((double)i), big_y[i] = cos((double)i * 1.3) + big_x[i];
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, big_x, big_y, N, PERCENTILE,
                                             0.95, 200, 1, &b), QDISP_OK);
    /* r = sqrt(1/2); its deviation is of the order of (1 - r^2) / sqrt(n) = 0.0019, known to 5 % from 200 values */
    CHECK(fabs(b.estimate - sqrt(0.5)) < 1e-3 && b.standard_error > 0.0008 && b.standard_error < 0.003);
    CHECK(b.low < b.estimate && b.estimate < b.high && fabs(b.bias) < 1e-3);
    CHECK_STATUS(qdisp_permutation_correlation(ctx, SPEARMAN, big_x, big_y, N, QDISP_GREATER, 200, 1,
                                               &p), QDISP_OK);
    CHECK(p.p == 1.0 / 201 && fabs(p.null_sd * sqrt(N - 1.0) - 1) < 5 / sqrt(400));
}

TEST(kendall_by_tree_is_kendall_by_signs) {
    uint32_t counts[4 * 200 + 4];
    fill(200, 3);
    for (size_t i = 0; i < 200; i++) x[i] = floor(x[i] * 9), y[i] = floor(y[i] * 7);
    qd_paired signs;
    CHECK_STATUS(qd_paired_new(ctx, "test", KENDALL, x, y, 200, &signs), QDISP_OK);
    qd_paired tree = signs;
    tree.signs = NULL;
    for (size_t k = 0; k < 50; k++) {
        for (size_t i = 0; i < 200; i++) counts[i] = (uint32_t)((i * 7919 + k * 104729) % 1009 % 4);
        size_t total = 0;
        for (size_t i = 0; i < 200; i++) total += counts[i];
        double by_signs = qd_paired_value(&signs, counts, total, counts + 200);
        CHECK(by_signs == qd_paired_value(&tree, counts, total, counts + 200));
    }
    qd_paired_free(ctx, &signs);
    qdisp_permutation p;
    fill(300, 6); /* beyond the signs; independent of each other: sd of tau in theory */
    for (size_t i = 0; i < 300; i++) y[i] -= x[i];
    CHECK_STATUS(qdisp_permutation_correlation(ctx, KENDALL, x, y, 300, QDISP_TWO_SIDED, 2000, 1, &p),
                 QDISP_OK);
    CHECK(fabs(p.null_sd / sqrt(2 * 605 / (9.0 * 300 * 299)) - 1) < 5 / sqrt(4000) && p.p > 0.001);
}

/* 3 pairs: 27 resamples, 3 of one pair alone. */
TEST(degenerate_resamples_are_left_out_and_counted) {
    double a[3] = {1, 2, 4}, b[3] = {1, 5, 2}, tied[6] = {0, 0, 0, 0, 0, 1}, any[6] = {3, 1, 4, 1, 5, 9};
    qdisp_bootstrap r;
    qdisp_jackknife j;
    for (int kind = 0; kind < 3; kind++) {
        CHECK_STATUS(qdisp_bootstrap_correlation(ctx, (qdisp_correlation)kind, a, b, 3, PERCENTILE, 0.95,
                                                 27000, 1, &r), QDISP_OK);
        CHECK(fabs((double)r.n_degenerate - 3000) < 5 * sqrt(27000 * (1.0 / 9) * (8.0 / 9)));
        CHECK(r.low == -1 && r.high == 1 && r.standard_error > 0.5);
        /* the lone 1 is absent from (5/6)^6 of the resamples */
        double absent = pow(5.0 / 6, 6) + pow(1.0 / 6, 6);
        CHECK_STATUS(qdisp_bootstrap_correlation(ctx, (qdisp_correlation)kind, tied, any, 6, BCA, 0.95,
                                                 20000, 1, &r), QDISP_OK);
        CHECK((double)r.n_degenerate > 20000 * absent - 5 * sqrt(20000 * absent));
        CHECK((double)r.n_degenerate < 20000 * absent + 5 * sqrt(20000 * absent) + 400); /* and y may be constant */
        CHECK(isnan(r.low) && isnan(r.high) && r.standard_error > 0); /* without the 1 there is no correlation */
        CHECK_STATUS(qdisp_jackknife_correlation(ctx, (qdisp_correlation)kind, tied, any, 6, &j), QDISP_OK);
        CHECK(j.n_degenerate == 1 && isnan(j.bias) && isnan(j.standard_error) && !isnan(j.estimate));
    }
}

static void check_undefined(const double *a, const double *b, size_t n, size_t n_pairs) {
    for (int kind = 0; kind < 3; kind++) {
        if (n_pairs == 0 && kind > 0) return; /* infinity: ranks have no trouble */
        qdisp_bootstrap r;
        qdisp_permutation p;
        qdisp_jackknife j;
        CHECK_STATUS(qdisp_bootstrap_correlation(ctx, (qdisp_correlation)kind, a, b, n, BCA, 0.95, 100, 1,
                                                 &r), QDISP_OK);
        CHECK(isnan(r.estimate) && isnan(r.low) && isnan(r.high) && isnan(r.bias) && isnan(r.standard_error));
        CHECK(r.n_degenerate == 100);
        CHECK_STATUS(qdisp_permutation_correlation(ctx, (qdisp_correlation)kind, a, b, n, QDISP_LESS, 100, 1, &p),
                     QDISP_OK);
        CHECK(isnan(p.estimate) && isnan(p.p) && isnan(p.null_sd) && p.n_permutations == 0);
        CHECK_STATUS(qdisp_jackknife_correlation(ctx, (qdisp_correlation)kind, a, b, n, &j), QDISP_OK);
        CHECK(isnan(j.estimate) && isnan(j.bias));
    }
}

TEST(undefined_correlations_are_nan) {
    double a[5] = {1, 2, NAN, 3, 4}, b[5] = {NAN, 1, 2, 7, NAN}, c[5] = {2, 2, 2, 2, 2}, d[5] = {1, 5, 2, 7, 3};
    double inf[5] = {1, 2, INFINITY, 3, 4};
    check_undefined(NULL, NULL, 0, 1);
    check_undefined(a, b, 5, 2); /* two pairs are left */
    check_undefined(c, d, 5, 5);
    check_undefined(d, c, 5, 5);
    check_undefined(d, inf, 5, 0);
    qdisp_bootstrap with, without;
    double dropped[4] = {1, 2, 3, 4}, others[4] = {1, 5, 7, 3};
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, a, d, 5, BCA, 0.9, 500, 1,
                                             &with), QDISP_OK);
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, dropped, others, 4, BCA, 0.9,
                                             500, 1, &without), QDISP_OK);
    CHECK(same(&with, &without, sizeof with));
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, SPEARMAN, d, inf, 5, BCA, 0.9, 500, 1,
                                             &with), QDISP_OK);
    CHECK(fabs(with.estimate - 0.1) < 1e-15); /* by hand: ranks 1 4 2 5 3 against 1 2 5 3 4 */
}

TEST(any_magnitude) {
    double factors[] = {1, 0x1p-1000, 0x1p900, 0x1p-400};
    qdisp_bootstrap b[4];
    fill(14, 9);
    for (int f = 0; f < 4; f++) {
        double a[14], c[14];
        for (int i = 0; i < 14; i++) a[i] = x[i] * factors[f], c[i] = y[i] / factors[f];
        CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, a, c, 14, BCA, 0.95, 2000,
                                                 1, &b[f]), QDISP_OK);
        CHECK(same(&b[0], &b[f], sizeof *b)); /* powers of two change no digit */
    }
    /* an outlier of 1e12: a resample without it has the correlation of the rest, through the two passes */
    double a[14], c[14];
    qdisp_jackknife j;
    for (int i = 0; i < 14; i++) a[i] = i == 5 ? 1e12 : x[i], c[i] = y[i];
    CHECK_STATUS(qdisp_jackknife_correlation(ctx, PEARSON, a, c, 14, &j), QDISP_OK);
    double rest_x[13], rest_y[13];
    qdisp_bootstrap rest;
    for (int i = 0, k = 0; i < 14; i++)
        if (i != 5) rest_x[k] = x[i], rest_y[k++] = y[i];
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, rest_x, rest_y, 13, BASIC,
                                             0.9, 100, 1, &rest), QDISP_OK);
    CHECK(j.low == rest.estimate || j.high == rest.estimate);
    /* on a line all resamples give 1 */
    for (int i = 0; i < 14; i++) c[i] = 3 * x[i] + 2;
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, PEARSON, x, c, 14, BCA, 0.95, 1000, 1,
                                             &rest), QDISP_OK);
    CHECK(rest.low > 1 - 1e-12 && rest.high <= 1 && rest.low <= rest.high);
}

TEST(wrong_arguments) {
    qdisp_bootstrap b, untouched;
    qdisp_permutation p;
    qdisp_jackknife j;
    memset(&b, 0x5a, sizeof b);
    untouched = b;
    fill(5, 1);
#define BOOT(kind, px, py, n, method, level, n_resamples, out) \
    CHECK_STATUS(qdisp_bootstrap_correlation(ctx, (qdisp_correlation)(kind), px, py, n, \
                                             (qdisp_interval_method)(method), level, n_resamples, 0, out), QDISP_EINVAL)
    BOOT(3, x, y, 5, 0, 0.95, 1000, &b);
    BOOT(0, NULL, y, 5, 0, 0.95, 1000, &b);
    BOOT(0, x, NULL, 5, 0, 0.95, 1000, &b);
    BOOT(0, x, y, 5, 3, 0.95, 1000, &b);
    BOOT(0, x, y, 5, 0, 1, 1000, &b);
    BOOT(0, x, y, 5, 0, NAN, 1000, &b);
    BOOT(0, x, y, 5, 0, 0.95, 99, &b);
    BOOT(0, x, y, 5, 0, 0.95, 1000, NULL);
    BOOT(0, x, y, (size_t)QD_PAIRED_MAX + 1, 0, 0.95, 1000, &b);
#undef BOOT
    CHECK(same(&b, &untouched, sizeof b));
    CHECK_STATUS(qdisp_permutation_correlation(ctx, 0, x, y, 5, (qdisp_alternative)3, 1000, 0, &p), QDISP_EINVAL);
    CHECK_STATUS(qdisp_permutation_correlation(ctx, 0, x, y, 5, QDISP_LESS, 99, 0, &p), QDISP_EINVAL);
    CHECK_STATUS(qdisp_permutation_correlation(ctx, 0, x, y, 5, QDISP_LESS, 1000, 0, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_jackknife_correlation(ctx, 0, x, y, 5, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_jackknife_correlation(ctx, 0, NULL, y, 5, &j), QDISP_EINVAL);
}

/* ---- ACIQ ---- */

static void aciq_row(char **w, size_t n_words) {
    double params[2] = {strtod(w[2], NULL), strtod(w[3], NULL)}, alpha = 7, mse = 7;
    double want_alpha = strtod(w[5], NULL), want_mse = strtod(w[6], NULL);
    CHECK(n_words == 7);
    CHECK_STATUS(qdisp_aciq_law(ctx, w[0], params, (size_t)atoi(w[1]), (unsigned)atoi(w[4]), &alpha, &mse), QDISP_OK);
    /* tails within 1e-13; a difference of them loses up to two digits at 16 bits */
    CHECK(fabs(alpha - want_alpha) < 1e-12 * want_alpha);
    CHECK(fabs(mse - want_mse) < 1e-11 * want_mse);
}

TEST(aciq_of_laws_in_forty_digits) {
    CHECK(each_golden("aciq", aciq_row) == 45);
}

TEST(aciq_reproduces_the_table_of_optima) {
    char line[256], law[32];
    FILE *f = fopen(QDISP_ROOT "/test/golden/aciq_optimum.csv", "r");
    int n_rows = 0;
    CHECK(f != NULL);
    if (!f) return;
    CHECK(fgets(line, sizeof line, f) != NULL);
    while (fgets(line, sizeof line, f)) {
        char *at = strchr(line, ','), *end;
        double params[2], alpha = 7, mse = 7;
        size_t n_params = 0;
        snprintf(law, sizeof law, "%.*s", (int)(at - line), line);
        for (int i = 0; i < 2; i++, at = strchr(at + 1, ',')) {
            params[n_params] = strtod(at + 1, &end);
            n_params += end != at + 1;
        }
        unsigned bits = (unsigned)strtoul(at + 1, &end, 10);
        double want_alpha = strtod(end + 1, &end), want_mse = strtod(end + 1, &end);
        CHECK_STATUS(qdisp_aciq_law(ctx, law, params, n_params, bits, &alpha, &mse), QDISP_OK);
        CHECK(fabs(alpha - want_alpha) < 1e-9 * want_alpha); /* the table's own accuracy */
        CHECK(fabs(mse - want_mse) < 1e-9 * want_mse);
        n_rows++;
    }
    fclose(f);
    CHECK(n_rows == 38);
}

TEST(aciq_of_laws_at_the_edges) {
    double one[1] = {2}, two[2] = {0, 5}, a = 7, b = 8;
    CHECK_STATUS(qdisp_aciq_law(ctx, "gaussian", NULL, 0, 4, &a, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_aciq_law(ctx, "generalized_gaussian", one, 1, 4, &b, NULL), QDISP_OK);
    CHECK(fabs(a - b) < 1e-12);
    CHECK_STATUS(qdisp_aciq_law(ctx, "two_gaussian", two, 2, 4, &b, NULL), QDISP_OK);
    CHECK(fabs(a - b) < 1e-14);
    one[0] = 1e6;
    CHECK_STATUS(qdisp_aciq_law(ctx, "student_t", one, 1, 4, &b, NULL), QDISP_OK);
    CHECK(fabs(a - b) < 1e-5); /* 1 / nu from the Gaussian */
    one[0] = 1;
    CHECK_STATUS(qdisp_aciq_law(ctx, "laplace", NULL, 0, 4, &a, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_aciq_law(ctx, "generalized_gaussian", one, 1, 4, &b, NULL), QDISP_OK);
    CHECK(fabs(a - b) < 1e-12);
    a = b = 7;
    CHECK_STATUS(qdisp_aciq_law(ctx, "cauchy", NULL, 0, 4, &a, &b), QDISP_ENOTFOUND);
    CHECK_STATUS(qdisp_aciq_law(ctx, NULL, NULL, 0, 4, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_law(ctx, "gaussian", one, 1, 4, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_law(ctx, "student_t", NULL, 1, 4, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_law(ctx, "gaussian", NULL, 0, 0, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_law(ctx, "gaussian", NULL, 0, 17, &a, &b), QDISP_EINVAL);
    double bad[] = {2, 0.05, NAN, 2e6};
    for (int i = 0; i < 4; i++) {
        if (i != 1) CHECK_STATUS(qdisp_aciq_law(ctx, "student_t", bad + i, 1, 4, &a, &b), QDISP_EINVAL);
        if (i > 0) CHECK_STATUS(qdisp_aciq_law(ctx, "generalized_gaussian", bad + i, 1, 4, &a, &b), QDISP_EINVAL);
    }
    two[0] = 1.5;
    CHECK_STATUS(qdisp_aciq_law(ctx, "two_gaussian", two, 2, 4, &a, &b), QDISP_EINVAL);
    CHECK(a == 7 && b == 7);
}

TEST(aciq_of_an_array_is_the_root_on_its_numbers) {
    enum { N = 600001 }; /* more than one span */
    static float w[N + 1];
    static uint16_t h[N];
    uint64_t state = 1;
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int k = 0; k < 12; k++) {
            state = state * 6364136223846793005u + 1;
            sum += (double)(state >> 32) * 0x1p-32;
        }
        w[i] = (float)((sum - 6) * (i % 100 ? 0.02 : 0.1));
        h[i] = qd_f32_to_f16(w[i]);
    }
    for (unsigned bits = 2; bits <= 8; bits += 2) {
        for (int full = 0; full < 2; full++) {
            double half = (double)(1 << (bits - 1)) - !full, c = 1 / (12 * half * half);
            qdisp_aciq r[3];
            CHECK_STATUS(qdisp_aciq_array(ctx, w, QDISP_DTYPE_F32, N, bits, full, &r[0]), QDISP_OK);
            double excess = 0, squares = 0, energy = 0, a = r[0].alpha;
            for (int i = 0; i < N; i++) {
                double e = fmax(fabs((double)w[i]) - a, 0);
                excess += e;
                squares += e * e;
                energy += (double)w[i] * (double)w[i];
            }
            CHECK(fabs(excess - N * c * a) < 1e-9 * N * c * a); /* f64 sums, Newton to 1e-12 */
            CHECK(fabs(r[0].mse - squares / N - c * a * a) < 1e-6 * r[0].mse); /* the threshold as a float: 3 u */
            CHECK(fabs(r[0].mean_square - energy / N) < 1e-6 * r[0].mean_square && r[0].n == N);
            memmove(w + 1, w, N * sizeof *w);
            memmove((char *)w + 1, w + 1, N * sizeof *w); /* at any alignment, the same */
            CHECK_STATUS(qdisp_aciq_array(ctx, (char *)w + 1, QDISP_DTYPE_F32, N, bits, full, &r[1]), QDISP_OK);
            memmove(w, (char *)w + 1, N * sizeof *w);
            CHECK(same(&r[0], &r[1], sizeof *r));
            CHECK_STATUS(qdisp_aciq_array(ctx, h, QDISP_DTYPE_F16, N, bits, full, &r[2]), QDISP_OK);
            CHECK(fabs(r[2].alpha - a) < 1e-3 * a); /* 11 bits of each */
        }
    }
}

TEST(aciq_of_odd_arrays) {
    float zero[3] = {0}, bad[3] = {1, NAN, 2}, inf[3] = {1, -INFINITY, 2}, one = -3;
    qdisp_aciq r, untouched;
    memset(&r, 0x5a, sizeof r);
    untouched = r;
    CHECK_STATUS(qdisp_aciq_array(ctx, bad, QDISP_DTYPE_F32, 3, 4, 1, &r), QDISP_ENUMERIC);
    CHECK_STATUS(qdisp_aciq_array(ctx, inf, QDISP_DTYPE_F32, 3, 4, 1, &r), QDISP_ENUMERIC);
    CHECK_STATUS(qdisp_aciq_array(ctx, zero, QDISP_DTYPE_F32, 0, 4, 1, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_array(ctx, NULL, QDISP_DTYPE_F32, 3, 4, 1, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_array(ctx, zero, QDISP_DTYPE_F32, 3, 1, 0, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_array(ctx, zero, QDISP_DTYPE_F32, 3, 17, 1, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_aciq_array(ctx, zero, QDISP_DTYPE_F64, 3, 4, 1, &r), QDISP_EUNSUPPORTED);
    CHECK(same(&r, &untouched, sizeof r));
    CHECK_STATUS(qdisp_aciq_array(ctx, zero, QDISP_DTYPE_F32, 3, 4, 1, &r), QDISP_OK);
    CHECK(r.alpha == 0 && r.mse == 0 && r.mean_square == 0);
    CHECK_STATUS(qdisp_aciq_array(ctx, &one, QDISP_DTYPE_F32, 1, 4, 1, &r), QDISP_OK);
    CHECK(fabs(r.alpha - 3 / (1 + 1.0 / 768)) < 1e-12); /* 3 - a = a / (3 4^4) */
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(intervals_are_scipys_within_monte_carlo_error);
    RUN(jackknife);
    RUN(few_orders_are_all_evaluated);
    RUN(random_orders_come_near_another_generators);
    RUN(words_are_those_of_the_generator);
    RUN(places_are_drawn_evenly);
    RUN(quantiles_need_no_sorting);
    RUN(threads_and_instruction_sets_do_not_matter);
    RUN(fast_sums_are_those_of_the_pairs);
    RUN(two_words_a_draw);
    RUN(kendall_by_tree_is_kendall_by_signs);
    RUN(degenerate_resamples_are_left_out_and_counted);
    RUN(undefined_correlations_are_nan);
    RUN(any_magnitude);
    RUN(wrong_arguments);
    RUN(aciq_of_laws_in_forty_digits);
    RUN(aciq_reproduces_the_table_of_optima);
    RUN(aciq_of_laws_at_the_edges);
    RUN(aciq_of_an_array_is_the_root_on_its_numbers);
    RUN(aciq_of_odd_arrays);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

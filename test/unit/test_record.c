/* test_record.c - every expected statistic of the research record (test/golden/record), by the library's functions. */
#include "harness.h"

#include <qdisp/qdisp.h>

static qdisp_ctx *ctx;
static qdisp_table *languages, *layers, *opt, *sinks, *fertility, *premium, *heads, *expected;
static int n_checked[128];

/* scipy's r is from plain sums of doubles, its p from a rounded 1 - r^2: some 1e-15 times the 1e3 that p may amplify */
#define TOLERANCE 1e-11

static qdisp_table *read_table(const char *name) {
    char path[1024];
    qdisp_table *t = NULL;
    snprintf(path, sizeof path, "%s/test/golden/record/%s.csv", QDISP_ROOT, name);
    CHECK_STATUS(qdisp_table_open_csv(ctx, path, name, &t), QDISP_OK);
    return t;
}

/* A column as doubles (whole numbers are read as integers), in a place of its own until the test ends. */
static const double *column(const qdisp_table *t, const char *name) {
    static double places[64][32];
    static int n_places;
    double *to = places[n_places++ % 64];
    size_t i = qdisp_table_find(t, name);
    for (size_t row = 0; row < qdisp_table_n_rows(t) && row < 32; row++)
        to[row] = qdisp_table_f64(t, i) ? qdisp_table_f64(t, i)[row] : (double)qdisp_table_i64(t, i)[row];
    return to;
}

static const char *cell(const qdisp_table *t, const char *name, size_t row) {
    return qdisp_table_str(t, qdisp_table_find(t, name))[row];
}

static void expect(const char *key, double value) {
    const double *values = qdisp_table_f64(expected, qdisp_table_find(expected, "value"));
    for (size_t row = 0; row < qdisp_table_n_rows(expected); row++) {
        if (strcmp(cell(expected, "key", row), key)) continue;
        n_checked[row]++;
        if (!(fabs(value - values[row]) <= TOLERANCE * fabs(values[row]))) printf("%s:\n", key);
        CHECK_NEAR(value, values[row], TOLERANCE);
        return;
    }
    printf("%s is not expected\n", key);
    CHECK(0);
}

/* KEY.r and KEY.p or what the record calls them. */
static qdisp_correlation_test pearson(const double *x, const double *y, size_t n, const char *key, const char *r,
                                      const char *p) {
    qdisp_correlation_test c = {0};
    char name[128];
    CHECK_STATUS(qdisp_pearson(ctx, x, y, n, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    snprintf(name, sizeof name, "%s.%s", key, r);
    expect(name, c.r);
    snprintf(name, sizeof name, "%s.%s", key, p);
    expect(name, c.p);
    return c;
}

TEST(exp_001_languages) {
    static const char *const columns[][2] = {
        {"outlier_frac", "outlier_frac"}, {"high_frac", "high_frac"}, {"combined_frac", "combined_frac"},
        {"weighted_kurtosis_exp003", "weighted_kurtosis_exp003"}, {"xglm_weighted_kurtosis", "xglm_weighted_kurtosis"},
        {"pred_error", "pred_error_exp009b"}, {"keff", "keff_validate_theory"}};
    const double *damage = column(languages, "degradation"), *x = column(languages, "outlier_frac");
    char key[128];
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        snprintf(key, sizeof key, "bloom.%s~degradation", columns[i][1]);
        pearson(column(languages, columns[i][0]), damage, 14, key, "pearson_r", "pearson_p_two_sided");
    }
    qdisp_correlation_test c;
    CHECK_STATUS(qdisp_spearman(ctx, x, damage, 14, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    expect("bloom.outlier_frac~degradation.spearman_rho", c.r);
    expect("bloom.outlier_frac~degradation.spearman_p_t", c.p);
    CHECK_STATUS(qdisp_kendall(ctx, x, damage, 14, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    expect("bloom.outlier_frac~degradation.kendall_tau_b", c.r);
    expect("bloom.outlier_frac~degradation.kendall_p", c.p);
    CHECK_STATUS(qdisp_pearson(ctx, x, damage, 14, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    expect("bloom.fisher_ci_lo", c.low);
    expect("bloom.fisher_ci_hi", c.high);
    expect("bloom.perm_null_sd_theory_1/sqrt(n-1)", 1 / sqrt((double)c.n - 1));
}

TEST(exp_001_leave_one_out) {
    const char *labels[14];
    char key[64];
    qdisp_table *t = NULL;
    double low = 1, high = -1;
    for (size_t i = 0; i < 14; i++) labels[i] = cell(languages, "lang", i);
    CHECK_STATUS(qdisp_leave_one_out(ctx, QDISP_CORRELATION_PEARSON, column(languages, "outlier_frac"),
                                     column(languages, "degradation"), labels, 14, 0.95, &t), QDISP_OK);
    CHECK(qdisp_table_n_rows(t) == 14);
    for (size_t i = 0; i < 14; i++) {
        double r = qdisp_table_f64(t, qdisp_table_find(t, "r"))[i];
        snprintf(key, sizeof key, "bloom.loo.without_%s.r", cell(t, "left_out", i));
        expect(key, r);
        low = fmin(low, r);
        high = fmax(high, r);
    }
    expect("bloom.loo.min", low);
    expect("bloom.loo.max", high);
    qdisp_table_free(t);
}

TEST(exp_001_by_script) {
    const double *damage = column(languages, "degradation"), *x = column(languages, "outlier_frac");
    double part[2][2][14], latin[14];
    size_t n[2] = {0, 0};
    qdisp_correlation_test c;
    for (size_t i = 0; i < 14; i++) {
        int is_latin = !strcmp(cell(languages, "script", i), "Latn");
        latin[i] = is_latin;
        part[is_latin][0][n[is_latin]] = x[i];
        part[is_latin][1][n[is_latin]++] = damage[i];
    }
    CHECK(n[0] == 8 && n[1] == 6);
    pearson(part[0][0], part[0][1], 8, "bloom.subset.nonlatin_n8", "r", "p");
    pearson(part[1][0], part[1][1], 6, "bloom.subset.latin_n6", "r", "p");
    CHECK_STATUS(qdisp_partial(ctx, x, damage, latin, 1, 14, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    expect("bloom.partial.outlier~deg|latin.r", c.r);
    expect("bloom.partial.outlier~deg|latin.p_df11", c.p);
}

static double mean(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static double variance(const double *x, size_t n) {
    double m = mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - m) * (x[i] - m);
    return sum / (double)n;
}

/* Mean over layers but for a range each of two sorts. */
static double mean_without(const double *x, size_t low_from, size_t low_to, size_t high_from, size_t high_to) {
    double kept[24];
    size_t n = 0;
    for (size_t i = 0; i < 24; i++)
        if (!((i >= low_from && i <= low_to) || (i >= high_from && i <= high_to))) kept[n++] = x[i];
    return mean(kept, n);
}

TEST(exp_001_layers_and_means) {
    const double *keff = column(languages, "keff"), *damage = column(languages, "degradation");
    const double *kurtosis = column(layers, "bloom_mlp_kurtosis");
    double least = 1, most = 0, three[3] = {kurtosis[5], kurtosis[21], kurtosis[22]};
    for (size_t i = 0; i < 14; i++) least = fmin(least, damage[i]), most = fmax(most, damage[i]);
    expect("bloom.keff_validate.mean", mean(keff, 14));
    expect("bloom.keff_validate.var_pop", variance(keff, 14));
    expect("bloom.keff_validate.implied_C", (most - least) / sqrt(variance(keff, 14))); /* range = C sqrt(var) */
    expect("bloom.layer_kurtosis.mean", mean(kurtosis, 24));
    expect("bloom.layer_kurtosis.sd_pop", sqrt(variance(kurtosis, 24)));
    pearson(column(layers, "layer"), kurtosis, 24, "bloom.layer_vs_kurtosis", "r", "p");
    expect("bloom.kappa_mean_L5_21_22", mean(three, 3));
    expect("bloom.kappa_mean_excluding_4-7_21-23", mean_without(kurtosis, 4, 7, 21, 23));
    expect("bloom.kappa_mean_excluding_4-7_20-23", mean_without(kurtosis, 4, 7, 20, 23));
}

TEST(other_experiments) {
    qdisp_correlation_test c;
    const double *sink = column(sinks, "sink_strength"), *kurtosis = column(sinks, "attn_max_kurtosis");
    pearson(sink, kurtosis, 12, "exp030.pearson", "stat", "p");
    CHECK_STATUS(qdisp_spearman(ctx, sink, kurtosis, 12, QDISP_TWO_SIDED, 0.95, &c), QDISP_OK);
    expect("exp030.spearman.stat", c.r);
    expect("exp030.spearman.p", c.p);
    pearson(column(opt, "layer"), column(opt, "max_kurtosis"), 12, "exp024", "r", "p");

    const double *damage = column(fertility, "degradation_handset");
    for (int bloom = 0; bloom < 2; bloom++) {
        const double *x = column(fertility, bloom ? "fertility_bloom" : "fertility_mbert");
        double spaced_x[12], spaced[12];
        size_t n = 0;
        for (size_t i = 0; i < 12; i++) {
            const char *language = cell(fertility, "iso2", i);
            spaced_x[n] = x[i];
            spaced[n] = damage[i];
            n += strcmp(language, "zh") && strcmp(language, "ja");
        }
        char key[64];
        snprintf(key, sizeof key, "exp033.fertility_%s~handset", bloom ? "bloom" : "mbert");
        pearson(x, damage, 12, key, "r", "p");
        pearson(spaced_x, spaced, n, key, "without_zh_ja.r", "without_zh_ja.p");
    }
}

TEST(c_001b_and_b_001) {
    const double *tokens = column(premium, "fertility"), *specific = column(heads, "specific");
    double group[3][8], odds, p, low, high;
    size_t n[3] = {0, 0, 0};
    for (size_t i = 0; i < 8; i++) {
        int is_low = !strcmp(cell(premium, "resource", i), "low"), thai = !strcmp(cell(premium, "iso2", i), "th");
        if (is_low) group[1][n[1]++] = tokens[i];
        if (is_low && !thai) group[2][n[2]++] = tokens[i];
        if (!strcmp(cell(premium, "resource", i), "high")) group[0][n[0]++] = tokens[i];
    }
    expect("c001b.high_mean", mean(group[0], n[0]));
    expect("c001b.low_mean", mean(group[1], n[1]));
    expect("c001b.gap", mean(group[1], n[1]) / mean(group[0], n[0]));
    expect("c001b.gap_without_thai", mean(group[2], n[2]) / mean(group[0], n[0]));

    uint64_t late = 0, all = 0;
    for (size_t layer = 0; layer < 12; layer++) {
        all += (uint64_t)specific[layer];
        if (layer >= 8) late += (uint64_t)specific[layer];
    }
    uint64_t table[4] = {late, 4 * 12 - late, all - late, 8 * 12 - (all - late)};
    expect("b001.pct_specific", 100 * (double)all / 144);
    CHECK_STATUS(qdisp_fisher_exact(ctx, table, QDISP_TWO_SIDED, &odds, &p), QDISP_OK);
    expect("b001.fisher_exact_late_vs_rest.odds", odds);
    expect("b001.fisher_exact_late_vs_rest.p", p);
    CHECK_STATUS(qdisp_wilson(ctx, all, 144, 0.95, &low, &high), QDISP_OK);
    expect("b001.wilson95.lo", low);
    expect("b001.wilson95.hi", high);
}

TEST(nothing_expected_was_left_out) {
    CHECK(qdisp_table_n_rows(expected) == 76);
    for (size_t row = 0; row < qdisp_table_n_rows(expected); row++) {
        if (!n_checked[row]) printf("%s was not computed\n", cell(expected, "key", row));
        CHECK(n_checked[row] > 0);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    struct {
        const char *name;
        qdisp_table **table;
    } tables[] = {{"exp001_languages", &languages}, {"exp001_layers", &layers}, {"exp024_layers", &opt},
                  {"exp030_layers", &sinks}, {"exp033_languages", &fertility}, {"c001b_languages", &premium},
                  {"b001_layers", &heads}, {"expected", &expected}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (!(*tables[i].table = read_table(tables[i].name))) return 1;
    RUN(exp_001_languages);
    RUN(exp_001_leave_one_out);
    RUN(exp_001_by_script);
    RUN(exp_001_layers_and_means);
    RUN(other_experiments);
    RUN(c_001b_and_b_001);
    RUN(nothing_expected_was_left_out);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) qdisp_table_free(*tables[i].table);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

/* Fertility against counts made without qdisp (golden/make_fertility.py), and the interface's own promises. */
#include "base/base.h"
#include "golden.h"
#include "harness.h"
#include "tokenizer/tokenizer.h"

#include <qdisp/qdisp.h>

static qdisp_ctx *ctx;
static qdisp_corpus *corpus;
static qdisp_tokenizer *tokenizers[2];
static const char *const names[] = {"model", "gpt2"};
static qdisp_report *report;

static double value(const char *table, size_t row, const char *column) {
    const qdisp_table *t = qdisp_report_find(report, table);
    size_t col = qdisp_table_find(t, column);
    const double *f64 = qdisp_table_f64(t, col);
    const int64_t *i64 = qdisp_table_i64(t, col);
    if (f64) return f64[row];
    return i64 ? i64[row] == QDISP_MISSING_I64 ? NAN : (double)i64[row] : -12345;
}

/* The row of TOKENIZER/LANGUAGE, or of a language in "texts". */
static size_t row_of(const char *table, const char *tokenizer, const char *language) {
    const qdisp_table *t = qdisp_report_find(report, table);
    const char *const *a = qdisp_table_str(t, qdisp_table_find(t, "tokenizer"));
    const char *const *b = qdisp_table_str(t, qdisp_table_find(t, "language"));
    for (size_t i = 0; i < qdisp_table_n_rows(t); i++)
        if ((!a || !strcmp(a[i], tokenizer)) && !strcmp(b[i], language)) return i;
    CHECK(!"a row is missing");
    return 0;
}

TEST(counts_are_the_references) {
    golden g;
    int n_rows = 0;
    CHECK(golden_open(&g, "fertility.txt"));
    while (golden_next(&g)) {
        char *slash = strchr(g.word, '/');
        if (!slash) continue;
        *slash = 0;
        size_t row = row_of("fertility", g.word, slash + 1), text = row_of("texts", NULL, slash + 1);
        double n = g.v[0];
        n_rows++;
        CHECK(value("fertility", row, "n_tokens") == n);
        CHECK(value("texts", text, "n_bytes") == g.v[1]);
        CHECK(value("texts", text, "n_codepoints") == g.v[2]);
        CHECK(value("texts", text, "n_graphemes") == g.v[3]);
        CHECK_NEAR(value("fertility", row, "tokens_per.byte"), n / g.v[1], 1e-15);
        CHECK_NEAR(value("fertility", row, "tokens_per.codepoint"), n / g.v[2], 1e-15);
        CHECK_NEAR(value("fertility", row, "tokens_per.grapheme"), n / g.v[3], 1e-15);
        CHECK_NEAR(value("fertility", row, "tokens_per.sentence"), n / 80, 1e-15);
        CHECK_NEAR(value("fertility", row, "share.bytes"), g.v[5] / n, 1e-15);
        CHECK(value("fertility", row, "share.unk") == 0);
        CHECK_NEAR(value("texts", text, "n_words"), g.v[4] < 0 ? NAN : g.v[4], 0);
        CHECK_NEAR(value("fertility", row, "share.whole_words"), g.v[4] < 0 ? NAN : g.v[6] / g.v[4], 1e-15);
    }
    CHECK(n_rows == 52);
}

static void check_graphemes(const double *v, size_t n) {
    char text[64];
    size_t n_bytes = 0;
    for (size_t i = 1; i < n; i++) n_bytes += qd_utf8_put((int32_t)v[i], (uint8_t *)text + n_bytes);
    size_t count = qd_count_graphemes(text, n_bytes);
    if (count == (size_t)v[0]) return;
    printf("%zu graphemes, expected %g:", count, v[0]);
    for (size_t i = 1; i < n; i++) printf(" %X", (unsigned)v[i]);
    printf("\n");
    harness_bad = 1;
}

TEST(graphemes_are_those_of_unicode_16) {
    CHECK(golden_each("fertility.txt", "graphemes", check_graphemes) == 400);
    CHECK(qd_count_graphemes("", 0) == 0);
}

TEST(premium_is_the_bootstrap_over_lines) {
    double a[80], b[80], low, high;
    size_t th = 0, en = 0;
    for (size_t l = 0; l < qdisp_corpus_n_languages(corpus); l++) {
        if (!strcmp(qdisp_corpus_language(corpus, l), "th")) th = l;
        if (!strcmp(qdisp_corpus_language(corpus, l), "en")) en = l;
    }
    double sum_a = 0, sum_b = 0;
    for (size_t i = 0; i < 80; i++) {
        size_t n, n_ids;
        const char *line = qdisp_corpus_line(corpus, th, i, &n);
        CHECK_STATUS(qdisp_tokenizer_encode(tokenizers[0], line, n, NULL, NULL, 0, &n_ids), QDISP_OK);
        sum_a += a[i] = (double)n_ids;
        line = qdisp_corpus_line(corpus, en, i, &n);
        CHECK_STATUS(qdisp_tokenizer_encode(tokenizers[0], line, n, NULL, NULL, 0, &n_ids), QDISP_OK);
        sum_b += b[i] = (double)n_ids;
    }
    CHECK_STATUS(qdisp_bootstrap_ratio(ctx, a, b, 80, 0.95, 2000, 0, &low, &high), QDISP_OK);
    size_t row = row_of("fertility", "model", "th"), pivot = row_of("fertility", "model", "en");
    CHECK_NEAR(value("fertility", row, "premium.ratio"), sum_a / sum_b, 1e-15);
    CHECK(value("fertility", row, "premium.low") == low && value("fertility", row, "premium.high") == high);
    CHECK(low < sum_a / sum_b && sum_a / sum_b < high);
    CHECK(value("fertility", pivot, "premium.ratio") == 1 && value("fertility", pivot, "premium.low") == 1);
}

TEST(summary_is_the_mean_over_languages) {
    const qdisp_table *t = qdisp_report_find(report, "tokenizers");
    size_t n = qdisp_corpus_n_languages(corpus);
    double premium = 0, per_byte = 0, whole = 0, worst = 0;
    size_t n_whole = 0;
    CHECK(qdisp_table_n_rows(t) == 2);
    for (size_t l = 0; l < n; l++) {
        double ratio = value("fertility", n + l, "premium.ratio"), w = value("fertility", n + l, "share.whole_words");
        per_byte += value("fertility", n + l, "tokens_per.byte") / (double)n;
        premium += ratio;
        if (ratio > worst) worst = ratio;
        if (!isnan(w)) whole += w, n_whole++;
    }
    CHECK_NEAR(value("tokenizers", 1, "premium.mean"), (premium - 1) / (double)(n - 1), 1e-12);
    CHECK_NEAR(value("tokenizers", 1, "tokens_per.byte"), per_byte, 1e-12);
    CHECK_NEAR(value("tokenizers", 1, "share.whole_words"), whole / (double)n_whole, 1e-12);
    CHECK(value("tokenizers", 1, "premium.worst") == worst && n_whole == n - 3); /* ja, th, zh */
    CHECK(value("tokenizers", 0, "n_vocab") == 8192);
}

TEST(without_a_pivot_premiums_are_missing) {
    const char *const tags[] = {"fr", "th"}, *const texts[] = {"un chat\ndeux", "แมว\nหมา"};
    const size_t n_bytes[] = {12, 19};
    qdisp_corpus *small = NULL;
    qdisp_report *all = report;
    const qdisp_tokenizer *t = tokenizers[0];
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, tags, texts, n_bytes, 2, &small), QDISP_OK);
    CHECK_STATUS(qdisp_fertility(ctx, &t, names, 1, small, NULL, &report), QDISP_OK);
    CHECK(isnan(value("fertility", 0, "premium.ratio")) && isnan(value("tokenizers", 0, "premium.worst")));
    qdisp_report_free(report);
    qdisp_fertility_options options = {.size = sizeof options, .pivot = "fr"};
    CHECK_STATUS(qdisp_fertility(ctx, &t, names, 1, small, &options, &report), QDISP_OK);
    CHECK(value("fertility", 1, "premium.ratio") > 1);
    CHECK(isnan(value("fertility", 1, "premium.low"))); /* two lines give no interval */
    qdisp_report_free(report);
    report = all;
    qdisp_report *none = NULL;
    options.pivot = "en";
    CHECK_STATUS(qdisp_fertility(ctx, &t, names, 1, small, &options, &none), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "'en'");
    CHECK(!none);
    qdisp_corpus_free(small);
}

TEST(wrong_arguments_are_refused) {
    const qdisp_tokenizer *two[] = {tokenizers[0], tokenizers[0]}, *missing[] = {NULL};
    const char *const same[] = {"a", "a"};
    qdisp_report *none = NULL;
    qdisp_fertility_options options = {.size = sizeof options, .n_resamples = 5};
    CHECK_STATUS(qdisp_fertility(NULL, two, names, 2, corpus, NULL, &none), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fertility(ctx, two, same, 2, corpus, NULL, &none), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "twice");
    CHECK_STATUS(qdisp_fertility(ctx, missing, names, 1, corpus, NULL, &none), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fertility(ctx, two, names, 0, corpus, NULL, &none), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fertility(ctx, two, names, 2, NULL, NULL, &none), QDISP_EINVAL);
    CHECK_STATUS(qdisp_fertility(ctx, two, names, 2, corpus, &options, &none), QDISP_EINVAL);
    CHECK(!none);
}

int main(void) {
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    CHECK_STATUS(qdisp_corpus_open(ctx, QDISP_ROOT "/examples/data/text", NULL, &corpus), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, QDISP_ROOT "/examples/data/model", &tokenizers[0]), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, QDISP_ROOT "/test/golden/tokenizer/gpt2", &tokenizers[1]), QDISP_OK);
    CHECK_STATUS(qdisp_fertility(ctx, (const qdisp_tokenizer *const *)tokenizers, names, 2, corpus, NULL, &report),
                 QDISP_OK);
    if (!report) return 1;
    RUN(counts_are_the_references);
    RUN(graphemes_are_those_of_unicode_16);
    RUN(premium_is_the_bootstrap_over_lines);
    RUN(summary_is_the_mean_over_languages);
    RUN(without_a_pivot_premiums_are_missing);
    RUN(wrong_arguments_are_refused);
    qdisp_report_free(report);
    qdisp_tokenizer_free(tokenizers[0]);
    qdisp_tokenizer_free(tokenizers[1]);
    qdisp_corpus_free(corpus);
    qdisp_ctx_free(ctx);
    return TEST_END();
}

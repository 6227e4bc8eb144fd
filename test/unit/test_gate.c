/* The gate: verdicts on losses made for the purpose, how often they are wrong, and what is written. */
#include "harness.h"

#include "base/base.h"
#include "stats/special.h"

#include <qdisp/qdisp.h>

#define LN2 0.69314718055994530942

static qdisp_ctx *ctx;

static double normal(uint32_t seed, uint32_t language, uint32_t line, uint32_t trial) {
    uint32_t counter[4] = {line, language, trial, 0}, key[2] = {seed, 5}, w[4];
    qd_philox(counter, key, w);
    return qd_normal_quantile(((double)w[0] + 0.5) / 4294967296.0);
}

/* Losses of n lines of languages a, b, c ...: 30 to 90 bytes each, 1 bit a byte, and `loss` bits a byte more. */
static qdisp_table *losses_of(const double *loss, size_t n_languages, size_t n_lines, double spread, uint32_t trial) {
    static const char *const tags[] = {"aa", "bb", "cc", "dd", "ee", "ff"};
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_table_new(ctx, "losses", "losses", &t);
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t i_line = qd_table_column(t, &status, "i_line", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "", QDISP_COLUMN_I64);
    size_t nll = qd_table_column(t, &status, "nll_nats", "", QDISP_COLUMN_F64);
    for (size_t l = 0; l < n_languages; l++)
        for (size_t i = 0; i < n_lines; i++) {
            double bytes = (double)(30 + (i * 37 + l) % 61);
            double more = loss ? bytes * (loss[l] + spread * normal(1, (uint32_t)l, (uint32_t)i, trial)) : 0;
            size_t row = qd_table_row(t, &status);
            qd_table_str(t, &status, row, language, tags[l]);
            qd_table_i64(t, &status, row, i_line, (int64_t)i);
            qd_table_i64(t, &status, row, n_bytes, (int64_t)bytes);
            qd_table_f64(t, &status, row, nll, LN2 * (bytes + more));
        }
    CHECK_STATUS(status, QDISP_OK);
    return t;
}

static qdisp_report *gate_of(const double *loss, size_t n_languages, size_t n_lines, double spread, uint32_t trial,
                             qdisp_eval_gate_options o) {
    qdisp_table *base = losses_of(NULL, n_languages, n_lines, 0, trial);
    qdisp_table *other = losses_of(loss, n_languages, n_lines, spread, trial);
    qdisp_report *report = NULL;
    o.size = sizeof o;
    CHECK_STATUS(qdisp_eval_gate(base, other, &o, &report), QDISP_OK);
    if (!report) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    qdisp_table_free(base);
    qdisp_table_free(other);
    return report;
}

static const char *verdict(const qdisp_report *r, const char *table, size_t row) {
    const qdisp_table *t = qdisp_report_find(r, table);
    return qdisp_table_str(t, qdisp_table_find(t, "verdict"))[row];
}

static double value(const qdisp_report *r, const char *column, size_t row) {
    const qdisp_table *t = qdisp_report_find(r, "languages");
    return qdisp_table_f64(t, qdisp_table_find(t, column))[row];
}

static int64_t lines_needed(const qdisp_report *r, size_t row) {
    const qdisp_table *t = qdisp_report_find(r, "languages");
    return qdisp_table_i64(t, qdisp_table_find(t, "n_lines_needed"))[row];
}

TEST(clear_cases_have_clear_verdicts) {
    qdisp_eval_gate_options o = {.margin_bpb = .05};
    qdisp_report *r = gate_of((double[]){0.01, 0.0, 0.02}, 3, 40, 0.02, 0, o);
    CHECK_STR(verdict(r, "verdict", 0), "pass");
    for (size_t l = 0; l < 3; l++) CHECK(value(r, "high_bpb", l) < 0.05 && value(r, "p_pass", l) < 0.05);
    qdisp_report_free(r);
    r = gate_of((double[]){0.01, 0.2, 0.02}, 3, 40, 0.02, 0, (qdisp_eval_gate_options){.margin_bpb = .05});
    CHECK_STR(verdict(r, "verdict", 0), "fail");
    CHECK_STR(verdict(r, "languages", 0), "pass");
    CHECK_STR(verdict(r, "languages", 1), "fail");
    CHECK(value(r, "low_bpb", 1) > 0.05);
    CHECK_NEAR(value(r, "loss_bpb", 1), 0.2, 0.1);
    qdisp_report_free(r);
    r = gate_of((double[]){0.01, 0.045, 0.02}, 3, 12, 0.1, 0, (qdisp_eval_gate_options){.margin_bpb = .05});
    CHECK_STR(verdict(r, "verdict", 0), "undecided");
    qdisp_report_free(r);
}

TEST(a_model_against_itself_passes_and_two_lines_decide_nothing) {
    qdisp_report *r = gate_of((double[]){0, 0}, 2, 10, 0, 0, (qdisp_eval_gate_options){.margin_bpb = 1e-3});
    CHECK_STR(verdict(r, "verdict", 0), "pass");
    qdisp_report_free(r);
    r = gate_of((double[]){0, 9}, 2, 2, 0, 0, (qdisp_eval_gate_options){.margin_bpb = 1e-3});
    CHECK_STR(verdict(r, "verdict", 0), "undecided");
    qdisp_report_free(r);
}

TEST(equivalence_forbids_a_gain_beyond_the_margin_too) {
    double loss[] = {-0.2, 0.0};
    qdisp_report *r = gate_of(loss, 2, 40, 0.02, 0, (qdisp_eval_gate_options){.margin_bpb = .05});
    CHECK_STR(verdict(r, "verdict", 0), "pass");
    qdisp_report_free(r);
    r = gate_of(loss, 2, 40, 0.02, 0, (qdisp_eval_gate_options){.margin_bpb = .05, .equivalence = 1});
    CHECK_STR(verdict(r, "verdict", 0), "fail");
    CHECK_STR(verdict(r, "languages", 1), "pass");
    qdisp_report_free(r);
}

/* On the margin itself no verdict is right: at most alpha of the gates may give one, over all languages together. */
TEST(wrong_verdicts_are_as_rare_as_promised) {
    enum { N_TRIALS = 1000 };
    double loss[] = {0.05, 0.05, 0.05, 0.05};
    size_t n_pass = 0, n_fail = 0;
    for (uint32_t trial = 0; trial < N_TRIALS; trial++) {
        qdisp_report *r = gate_of(loss, 4, 15, 0.1, trial, (qdisp_eval_gate_options){.margin_bpb = .05});
        bool passed = false, failed = false;
        for (size_t l = 0; l < 4; l++) {
            passed = passed || !strcmp(verdict(r, "languages", l), "pass");
            failed = failed || !strcmp(verdict(r, "languages", l), "fail");
        }
        n_pass += passed;
        n_fail += failed;
        qdisp_report_free(r);
    }
    printf("on the margin, %d gates of 4 languages: some language passed in %zu, failed in %zu (at most 50 each)\n",
           N_TRIALS, n_pass, n_fail);
    /* binomial, 1000 trials at 0.05: 5 standard deviations are 34 */
    CHECK(n_pass < 84 && n_fail < 84);
    CHECK(n_pass > 20 && n_fail > 20); /* and not much rarer: Holm is nearly exact for 4 independent languages */
}

TEST(as_many_lines_as_said_decide) {
    enum { N_TRIALS = 200 };
    double loss[] = {0.04};
    size_t n_decided = 0;
    int64_t n = 0;
    for (uint32_t trial = 0; trial < 50 && n <= 0; trial++) { /* a pilot that saw nearly the true loss */
        qdisp_report *r = gate_of(loss, 1, 100, 0.1, trial, (qdisp_eval_gate_options){.margin_bpb = .05});
        if (fabs(value(r, "loss_bpb", 0) - 0.04) < 0.0005) n = lines_needed(r, 0);
        qdisp_report_free(r);
    }
    CHECK(n > 100 && n < 2000);
    for (uint32_t trial = 0; trial < N_TRIALS && n > 0; trial++) {
        qdisp_report *r = gate_of(loss, 1, (size_t)n, 0.1, 100 + trial, (qdisp_eval_gate_options){.margin_bpb = .05});
        n_decided += !strcmp(verdict(r, "verdict", 0), "pass");
        qdisp_report_free(r);
    }
    printf("%lld lines decide %zu of %d (80 %% asked for, by a pilot of 100)\n", (long long)n, n_decided, N_TRIALS);
    CHECK(n_decided > N_TRIALS * 6 / 10 && n_decided < N_TRIALS * 95 / 100);
}

/* The bounds are those margins that the t test does not reject: at the upper bound as a margin, p is alpha. */
TEST(bounds_and_tests_say_the_same) {
    double loss[] = {0.03};
    qdisp_report *r = gate_of(loss, 1, 20, 0.1, 3, (qdisp_eval_gate_options){.margin_bpb = .05});
    double high = value(r, "high_bpb", 0), low = value(r, "low_bpb", 0);
    qdisp_report_free(r);
    r = gate_of(loss, 1, 20, 0.1, 3, (qdisp_eval_gate_options){.margin_bpb = high});
    CHECK_NEAR(value(r, "p_pass", 0), 0.05, 1e-6);
    qdisp_report_free(r);
    if (low > 0) {
        r = gate_of(loss, 1, 20, 0.1, 3, (qdisp_eval_gate_options){.margin_bpb = low});
        CHECK_NEAR(value(r, "p_fail", 0), 0.05, 1e-6);
        qdisp_report_free(r);
    }
}

static char text[16384];
static size_t n_text;
static int take(void *user, const char *bytes, size_t n) {
    (void)user;
    if (n_text + n >= sizeof text) return -1;
    memcpy(text + n_text, bytes, n);
    text[n_text += n] = 0;
    return 0;
}

TEST(junit_counts_failures_and_what_is_undecided) {
    qdisp_report *r = gate_of((double[]){0.01, 0.2, 0.045}, 3, 20, 0.05, 0,
                              (qdisp_eval_gate_options){.margin_bpb = .05});
    n_text = 0;
    CHECK_STATUS(qdisp_report_write(r, "junit", take, NULL), QDISP_OK);
    CHECK_HAS(text, "<testsuite name=\"languages\" tests=\"3\" failures=\"1\" errors=\"1\">");
    CHECK_HAS(text, "<testcase classname=\"languages\" name=\"aa\"/>");
    CHECK_HAS(text, "<failure message=\"verdict fail, loss_bpb 0.18");
    CHECK_HAS(text, "<error message=\"verdict undecided");
    CHECK_HAS(text, "</testsuites>");
    qdisp_report_free(r);
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_table_new(ctx, "a<b>", "t", &t), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_column(t, "name", "", QDISP_COLUMN_STR, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_column(t, "verdict", "", QDISP_COLUMN_STR, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_rows(t, 1, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_str(t, 0, 0, "x\"&'\n"), QDISP_OK);
    n_text = 0;
    CHECK_STATUS(qdisp_table_write(t, "junit", take, NULL), QDISP_OK);
    CHECK_HAS(text, "classname=\"a&lt;b&gt;\" name=\"x&quot;&amp;&apos; \"");
    CHECK_HAS(text, "<error message=\"verdict -\"");
    qdisp_table_free(t);
}

TEST(options_and_unlike_tables_are_refused) {
    qdisp_table *a = losses_of(NULL, 2, 10, 0, 0), *b = losses_of(NULL, 2, 9, 0, 0);
    qdisp_report *r = NULL;
    qdisp_eval_gate_options o = {.size = sizeof o, .margin_bpb = 0.1};
    CHECK_STATUS(qdisp_eval_gate(a, b, &o, &r), QDISP_EMISMATCH);
    const qdisp_eval_gate_options bad[] = {{.margin_bpb = 0}, {.margin_bpb = -1}, {.margin_bpb = (double)INFINITY},
                                           {.margin_bpb = 1, .alpha = 0.5}, {.margin_bpb = 1, .alpha = -1},
                                           {.margin_bpb = 1, .equivalence = 2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o = bad[i];
        o.size = sizeof o;
        CHECK_STATUS(qdisp_eval_gate(a, a, &o, &r), QDISP_EINVAL);
    }
    CHECK(r == NULL);
    qdisp_table_free(a);
    qdisp_table_free(b);
}

int main(void) {
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    RUN(clear_cases_have_clear_verdicts);
    RUN(a_model_against_itself_passes_and_two_lines_decide_nothing);
    RUN(equivalence_forbids_a_gain_beyond_the_margin_too);
    RUN(wrong_verdicts_are_as_rare_as_promised);
    RUN(as_many_lines_as_said_decide);
    RUN(bounds_and_tests_say_the_same);
    RUN(junit_counts_failures_and_what_is_undecided);
    RUN(options_and_unlike_tables_are_refused);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
